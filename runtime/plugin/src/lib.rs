//! Operators in shared libraries.
//!
//! A library that exports an operator is a crate of type `cdylib` with one line:
//!
//! ```
//! # use sideline_api::*;
//! # /// Counts.
//! # #[derive(Clone, Config)]
//! # pub struct Keys {}
//! # pub struct MyOperator;
//! # impl Operator for MyOperator {
//! #   type Config = Keys;
//! #   type State = ();
//! #   fn spec() -> Spec { Spec::operator("mine") }
//! #   fn new(_: Keys, _: &Resources) -> Result<Self> { Ok(MyOperator) }
//! #   fn process(&mut self, _: &Context, _: &Inputs, _: &mut (), _: &mut Outputs) -> Result<()> { Ok(()) }
//! # }
//! sideline_plugin::sideline_plugin!(MyOperator);
//! # assert!(sideline_plugin::description::<MyOperator>().contains("\"mine\""));
//! ```
//!
//! Tables cross the border as arrays of the Arrow C Data Interface, frames as planes with the functions that keep and release
//! them. Only tables of numbers up to 4 KiB are copied. Panics are caught on the side of the plugin.
//!
//! `unsafe` code is in this crate, `sideline-abi`, `sideline-media`, `sideline-inference` and `sideline-python`; the others forbid
//! it.

mod describe;
mod exchange;
mod guest;
mod guest_log;
#[cfg(feature = "load")]
pub mod load;

#[doc(hidden)]
pub use guest::Export;
#[doc(hidden)]
pub use sideline_abi as abi;

pub use describe::{Description, description_file};

/// Returns the description of an operator as JSON, as it stands in the library and in the file beside it.
pub fn description<O: sideline_api::Operator>() -> String {
    describe::Description::for_operator::<O>().to_json()
}

/// Exports an operator from a library of type `cdylib`. A library exports one.
#[macro_export]
macro_rules! sideline_plugin {
    ($operator:ty) => {
        /// Returns the plugin of this library; see `docs/plugin-abi.md`.
        // SAFETY: no other item of a plugin has this name: a library exports one operator.
        #[unsafe(no_mangle)]
        pub extern "C" fn sideline_plugin() -> *const $crate::abi::Plugin {
            static EXPORT: $crate::Export = $crate::Export::new();
            EXPORT.get::<$operator>()
        }
    };
}
