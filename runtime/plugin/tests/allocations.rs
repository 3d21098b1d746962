//! Allocations of a call through the interface of plugins.

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use sideline_api::{OnError, Operator, OperatorFactory, Values, factory};
use sideline_plugin::{Export, load::PluginFactory};
use sideline_rehearse::Rehearse;
use support::{Rig, frame, relay};

thread_local! {
    /// Number of allocations of this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Allocator of the system that counts.
struct Counting;

// SAFETY: all is done by the allocator of the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: guaranteed by the caller.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: guaranteed by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: guaranteed by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of allocations of a call, after some calls that fill what is kept from call to call.
fn allocations_per_call(factory: Arc<dyn OperatorFactory>, push: impl Fn(&mut Rig)) -> u64 {
    const CALLS: u64 = 100;
    let mut rig = Rig::new(factory, Values::new(), OnError::Stop).unwrap();
    let mut count = || {
        let before = ALLOCATIONS.get();
        for _ in 0..CALLS {
            push(&mut rig);
            rig.received.bodies.clear();
            rig.received.outcomes.clear();
        }
        ALLOCATIONS.get() - before
    };
    count();
    count() / CALLS
}

/// Returns the number of allocations of a call of a plugin beyond those of the operator that is linked.
fn more_allocations<O: Operator>(export: &'static Export, push: impl Fn(&mut Rig)) -> u64 {
    let linked = allocations_per_call(Arc::new(factory::operator::<O>()), &push);
    let plugin = allocations_per_call(Arc::new(PluginFactory::linked::<O>(export).unwrap()), &push);
    plugin - linked
}

#[test]
fn a_small_table_crosses_in_both_directions_without_an_allocation() {
    static EXPORT: Export = Export::new();
    let rows = relay::rows();
    assert_eq!(more_allocations::<relay::Relay>(&EXPORT, |rig| rig.push_rows(&rows).unwrap()), 0);
}

#[test]
fn a_frame_crosses_in_both_directions_with_few_allocations() {
    static EXPORT: Export = Export::new();
    let picture = frame();
    assert_eq!(more_allocations::<Rehearse>(&EXPORT, |rig| rig.push(&picture).unwrap()), 14);
}
