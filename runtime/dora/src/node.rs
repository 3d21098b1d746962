//! One dora node that hosts a plan.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dora_message::descriptor::Descriptor;
use dora_node_api::{DoraNode, Event, EventStream, StopCause};
use sideline_api::{Error, Registry, Result};
use sideline_engine::{Border, Options, Running, meter::Report};
use sideline_graph::plan::Plan;

use crate::{
    host::{self, END_GRACE, Host, Incoming},
    outputs::Outputs,
};

/// How often the event loop looks whether the run is over.
const LOOK: Duration = Duration::from_millis(20);

/// A connection to the daemon.
pub struct Node {
    node: DoraNode,
    events: EventStream,
    /// The process that started this one: the daemon.
    parent: Option<rustix::process::Pid>,
}

impl Node {
    /// Connects to the daemon that started this process.
    ///
    /// # Errors
    /// What dora says.
    pub fn connect() -> Result<Self> {
        let (node, events) =
            DoraNode::init_from_env_force().map_err(|e| Error::other(format!("cannot join the dora dataflow: {e}")))?;
        Ok(Node { node, events, parent: rustix::process::getppid() })
    }

    /// The id of this node.
    pub fn id(&self) -> String {
        self.node.id().to_string()
    }

    /// The name of the run: dora's id of the dataflow, the same for all its nodes.
    pub fn run(&self) -> String {
        self.node.dataflow_id().to_string()
    }

    /// The whole flow, as dora expanded it.
    ///
    /// # Errors
    /// When node and daemon are of different versions.
    pub fn descriptor(&self) -> Result<Descriptor> {
        self.node.dataflow_descriptor().cloned().map_err(|e| Error::config(e.to_string()))
    }

    /// Hosts a plan until it ends; `started` sees the run once it is under way.
    ///
    /// # Errors
    /// When the plan cannot be started.
    pub fn host(
        self,
        plan: Plan,
        registry: &Registry,
        options: Options,
        started: impl FnOnce(&Arc<Running>),
    ) -> Result<Report> {
        let id = self.id();
        let Node { node, mut events, parent } = self;
        let clock = options.clock.clone();
        let outputs = Arc::new(Outputs::new(node, &plan));
        let border: Arc<dyn Border> = outputs.clone();
        let running = Arc::new(sideline_engine::start(plan, registry, options, Some(border))?);
        started(&running);
        let waiter = {
            let running = running.clone();
            std::thread::Builder::new()
                .name("wait".into())
                .spawn(move || running.wait())
                .map_err(|e| Error::other(format!("cannot start a thread: {e}")))?
        };
        // A key may wait for a busy operator; messages and signs of life do not.
        let (settings, waiting) = std::sync::mpsc::channel::<(String, serde_json::Value)>();
        let (setter, own) = (running.clone(), id.clone());
        std::thread::Builder::new()
            .name("settings".into())
            .spawn(move || waiting.iter().for_each(|(key, value)| host::set(&setter, &own, &key, value)))
            .map_err(|e| Error::other(format!("cannot start a thread: {e}")))?;
        let mut host = Host::new(&running, &*outputs, &*clock, id, Instant::now());
        let mut over: Option<Instant> = None;
        loop {
            match events.recv_timeout(LOOK).map(incoming) {
                Some(Some(Incoming::Set { key, value })) => {
                    // The thread lives as long as this loop.
                    let _ = settings.send((key, value));
                }
                Some(Some(event)) => host.handle(event, Instant::now()),
                Some(None) => {}
                None => {
                    host.over();
                    break;
                }
            }
            host.tick(Instant::now());
            if rustix::process::getppid() != parent {
                // Its inputs stay open and silent for ever.
                running.fail(Error::other("the dora daemon that started this node is gone").as_consequence());
                break;
            }
            if waiter.is_finished() {
                // Producers end before consumers: a consumer's last `done` or an `end` might else be overtaken by
                // dora's word that the sender is gone.
                let since = *over.get_or_insert_with(Instant::now);
                if host.inputs_closed() || since.elapsed() > END_GRACE {
                    break;
                }
            }
        }
        let report = waiter.join().map_err(|_| Error::other("the waiting thread panicked; the message is above"))?;
        drop(outputs);
        Ok(report)
    }
}

/// The event of a node that dora's means; none where it means nothing to a run.
fn incoming(event: Event) -> Option<Incoming> {
    match event {
        Event::Input { id, metadata, data } => {
            Some(Incoming::Message { input: id.to_string(), parameters: metadata.parameters, data: data.into() })
        }
        Event::InputClosed { id } => Some(Incoming::Closed { input: id.to_string() }),
        Event::Stop(StopCause::Manual) => Some(Incoming::Stop),
        Event::ParamUpdate { key, value } => Some(Incoming::Set { key, value }),
        Event::NodeFailed { source_node_id, error, .. } => {
            Some(Incoming::Note(format!("node `{source_node_id}` failed: {error}")))
        }
        // Real errors close inputs, which is handled there.
        Event::Error(text) if !sideline_dora_texts::is_timeout(&text) => Some(Incoming::Note(text)),
        _ => None,
    }
}
