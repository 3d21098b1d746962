//! Readers of a source: one thread for each stream, which decodes its frames and offers them at the gate.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sideline_api::{
    DynSource, Error, Instance, OperatorFactory, Resources, Result, RunPlace, SourceContext, Values, driver::node_span,
};

use crate::{
    meter,
    shared::{GateId, Shared, SourceGate},
};

/// Opens every stream of a source and adds their readers to the gate.
pub(crate) fn open_source(
    shared: &Shared,
    gate: GateId,
    factory: &dyn OperatorFactory,
    values: &Values,
    resources: &Resources,
) -> Result<Vec<Box<dyn DynSource>>> {
    let _span = node_span(&resources.node).entered();
    match factory.make(values, resources)? {
        Instance::Sources(sources) => {
            shared.gates[gate.0].gate.open_readers(sources.iter().map(|source| source.stream()).collect())?;
            Ok(sources)
        }
        Instance::Operator(_) => Err(Error::config(format!("node `{}` is not a source", resources.node))),
    }
}

/// Reads all streams of a source: the first one on this thread, each further one on a thread of its own.
pub(crate) fn read_streams(
    shared: &Shared,
    gate: GateId,
    id: &str,
    sources: Vec<Box<dyn DynSource>>,
    cx: &SourceContext,
) {
    std::thread::scope(|scope| {
        let mut sources = sources.into_iter().enumerate();
        let first = sources.next();
        for (reader, mut source) in sources {
            let name: String =
                format!("{id} {}", source.stream().as_deref().unwrap_or("reader")).chars().take(15).collect();
            let work = move || read_stream(shared, gate, reader, id, &mut *source, cx);
            if let Err(cause) = std::thread::Builder::new().name(name).spawn_scoped(scope, work) {
                let error = Error::other(format!("node `{id}`: cannot start a thread: {cause}"));
                shared.gates[gate.0].gate.end_reader(reader, Err(error));
                shared.wake(shared.gates[gate.0].lane);
            }
        }
        if let Some((reader, mut source)) = first {
            read_stream(shared, gate, reader, id, &mut *source, cx);
        }
    });
}

/// Reads one stream to its end and offers its frames at the gate.
fn read_stream(shared: &Shared, gate: GateId, reader: usize, id: &str, source: &mut dyn DynSource, cx: &SourceContext) {
    let source_gate = &shared.gates[gate.0];
    let _span = node_span(id).entered();
    let mut outcome = Ok(());
    while !cx.is_stopping() {
        let next = catch_unwind(AssertUnwindSafe(|| source.next(cx)))
            .unwrap_or_else(|_| Err(Error::input("panicked; the message is above")));
        match next {
            Ok(Some(captured)) => match source_gate.gate.offer(reader, captured) {
                Ok(true) => shared.wake(source_gate.lane),
                Ok(false) => break,
                Err(error) => {
                    shared.fail(error);
                    break;
                }
            },
            Ok(None) => {
                set_closing_rows(source_gate, reader, source, cx);
                break;
            }
            Err(error) => {
                outcome = Err(error.in_run(RunPlace::node(id)));
                set_closing_rows(source_gate, reader, source, cx);
                break;
            }
        }
    }
    let closed = catch_unwind(AssertUnwindSafe(|| source.close()))
        .unwrap_or_else(|_| Err(Error::input("panicked while closing; the message is above")));
    outcome = outcome.and(closed.map_err(|error| error.in_run(RunPlace::node(id))));
    if let Err(error) = &outcome {
        // Logged now because the report may come much later: other streams and sources continue.
        tracing::error!(target: "sideline::failure", message = %error);
    }
    shared.meter(source_gate.node).cpu += meter::thread_cpu();
    let counts = catch_unwind(AssertUnwindSafe(|| source.counts()));
    source_gate.gate.set_reader_counts(reader, counts.unwrap_or_default());
    source_gate.gate.end_reader(reader, outcome);
    shared.wake(source_gate.lane);
}

/// Passes the closing rows of a source to its gate, unless the run was stopped.
fn set_closing_rows(source_gate: &SourceGate, reader: usize, source: &mut dyn DynSource, cx: &SourceContext) {
    if !cx.is_stopping() {
        // A source that panics here has no closing rows. An earlier failure of `next` has already been reported.
        let rows = catch_unwind(AssertUnwindSafe(|| source.closing_rows()));
        source_gate.gate.set_closing_rows(reader, rows.unwrap_or_default());
    }
}
