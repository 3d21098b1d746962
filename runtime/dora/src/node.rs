//! Dora node that hosts a plan.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use dora_message::{daemon_to_node::NodeConfig, descriptor::Descriptor};
use dora_node_api::{DoraNode, Event, EventStream, StopCause};
use sideline_api::{Error, Failure, OrFail, Registry, Result, yaml};
use sideline_engine::{Border, CloseReason, Options, Running, meter::Report};
use sideline_graph::plan::Plan;

use crate::{
    host::{self, END_TIMEOUT, Host, NodeEvent},
    outputs::{HeartbeatSender, NodeOutputs},
    transport::NODE_CONFIG_VARIABLE,
};

/// Longest time that the event loop waits for an event before it checks the run.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Node that the dora daemon assigned to this process, in its environment. It is known before the node has joined the
/// dataflow.
#[derive(Debug)]
pub struct Assignment {
    /// Id of the node.
    pub id: String,
    /// Name of the run, as in [`Node::run_id`].
    pub run_id: String,
    /// Whole flow, as expanded by dora.
    pub descriptor: Descriptor,
}

impl Assignment {
    /// Reads the assignment from the environment; `None` if there is none, or it comes from another version of dora.
    pub fn from_environment() -> Option<Self> {
        Self::parse(&std::env::var(NODE_CONFIG_VARIABLE).ok()?)
            .inspect_err(|error| tracing::warn!(%error, "{NODE_CONFIG_VARIABLE} cannot be read"))
            .ok()
    }

    /// Parses the value of the environment variable.
    fn parse(text: &str) -> Result<Self> {
        let config: NodeConfig =
            yaml::from_str(text).map_err(|error| Error::config(error.in_file(NODE_CONFIG_VARIABLE)))?;
        let descriptor = serde_json::to_value(&config.dataflow_descriptor).and_then(serde_json::from_value);
        Ok(Self {
            id: config.node_id.to_string(),
            run_id: config.dataflow_id.to_string(),
            descriptor: descriptor.or_fail(Failure::Config, || NODE_CONFIG_VARIABLE)?,
        })
    }
}

/// Connection of this process to the dora daemon.
pub struct Node {
    node: DoraNode,
    events: EventStream,
    /// Process that started this one: the daemon.
    parent: Option<rustix::process::Pid>,
}

impl Node {
    /// Connects to the daemon that started this process.
    ///
    /// # Errors
    /// When the daemon cannot be reached, or another node ended before all had joined the dataflow. The cause is in
    /// another process, so the error is a consequence.
    pub fn connect() -> Result<Self> {
        let (node, events) = DoraNode::init_from_env_force().map_err(|error| connect_error(&error))?;
        Ok(Node { node, events, parent: rustix::process::getppid() })
    }

    /// Returns the id of this node.
    pub fn id(&self) -> String {
        self.node.id().to_string()
    }

    /// Returns the name of the run: dora's id of the dataflow, which is the same for all its nodes.
    pub fn run_id(&self) -> String {
        self.node.dataflow_id().to_string()
    }

    /// Returns the whole flow, as expanded by dora.
    ///
    /// # Errors
    /// When the node and the daemon have different versions.
    pub fn descriptor(&self) -> Result<Descriptor> {
        self.node.dataflow_descriptor().cloned().map_err(|e| Error::config(e.to_string()))
    }

    /// Hosts a plan until the run ends, and returns its report. `on_running` is called once the run has started.
    ///
    /// # Errors
    /// When the plan cannot be started.
    pub fn host(
        self,
        plan: Plan,
        registry: &Registry,
        options: Options,
        on_running: impl FnOnce(&Arc<Running>),
    ) -> Result<Report> {
        let id = self.id();
        let Node { node, mut events, parent } = self;
        let (clock, sends_done) = (options.clock.clone(), plan.sends_done);
        let outputs = Arc::new(NodeOutputs::new(node, &plan));
        let border: Arc<dyn Border> = outputs.clone();
        let stop_requested = options.stop_requested.clone();
        let running = match sideline_engine::start(plan, registry, options, Some(border)) {
            Ok(running) => Arc::new(running),
            Err(error) => {
                if stop_requested.load(Ordering::SeqCst) {
                    report_early_stop(&outputs, &mut events, sends_done);
                }
                return Err(error);
            }
        };
        on_running(&running);
        let waiter = {
            let running = running.clone();
            std::thread::Builder::new()
                .name("wait".into())
                .spawn(move || running.wait())
                .or_fail(Failure::Other, || "cannot start a thread")?
        };
        // Settings have a thread of their own: they may wait for a busy operator, while messages and heartbeats must
        // not.
        let (settings, requests) = std::sync::mpsc::channel::<(String, serde_json::Value)>();
        let (run, own_id) = (running.clone(), id.clone());
        std::thread::Builder::new()
            .name("settings".into())
            .spawn(move || requests.iter().for_each(|(key, value)| host::change_setting(&run, &own_id, &key, value)))
            .or_fail(Failure::Other, || "cannot start a thread")?;
        let mut host = Host::new(&running, &*outputs, &*clock, id, Instant::now());
        let mut run_ended_at: Option<Instant> = None;
        loop {
            match events.recv_timeout(POLL_INTERVAL).map(convert_event) {
                Some(Some(NodeEvent::Set { key, value })) => {
                    // Cannot fail: the thread lives as long as this loop.
                    let _ = settings.send((key, value));
                }
                Some(Some(event)) => host.handle(event, Instant::now()),
                Some(None) => {}
                None => {
                    host.finish();
                    break;
                }
            }
            host.tick(Instant::now());
            if rustix::process::getppid() != parent {
                // Without the daemon the inputs stay open forever and receive nothing.
                running.fail(Error::other("the dora daemon that started this node is gone").as_consequence());
                break;
            }
            if waiter.is_finished() {
                host.report_run_end();
                // Producers exit before consumers. Otherwise dora's report that the sender is gone might overtake the
                // last `done` of a consumer, or an `end`.
                let ended_at = *run_ended_at.get_or_insert_with(Instant::now);
                if host.all_senders_gone() || ended_at.elapsed() > END_TIMEOUT {
                    break;
                }
            }
        }
        let report = waiter.join().map_err(|_| Error::other("the waiting thread panicked; the message is above"))?;
        // The senders may have left, which ends the loop, while a sink still closed its files.
        host.report_run_end();
        drop(outputs);
        Ok(report)
    }
}

/// Returns the error of a node that could not join the dataflow, with dora's causes.
fn connect_error(error: &(dyn std::error::Error + 'static)) -> Error {
    let causes = std::iter::successors(Some(error), |error| error.source());
    // Dora's own texts span several lines.
    let causes: Vec<String> =
        causes.map(|cause| cause.to_string().split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let text = format!(
        "cannot join the dora dataflow: a node of the flow died or was killed before all had joined, or the daemon is \
         gone; see dora's output for which ({})",
        causes.join(": ")
    );
    Error::other(text).as_consequence()
}

/// Reports to the other processes that this one was stopped before its operators were created. Returns once the reports
/// have had time to arrive before dora's report that this process is gone.
fn report_early_stop(outputs: &NodeOutputs, events: &mut EventStream, sends_done: bool) {
    outputs.close_all(CloseReason::Stopped);
    if sends_done {
        outputs.report_stopped();
    }
    let reported_at = Instant::now();
    while reported_at.elapsed() < END_TIMEOUT && events.recv_timeout(POLL_INTERVAL).is_some() {}
}

/// Converts an event of dora; `None` if it has no effect on a run.
fn convert_event(event: Event) -> Option<NodeEvent> {
    match event {
        Event::Input { id, metadata, data } => {
            Some(NodeEvent::Message { input: id.to_string(), parameters: metadata.parameters, data: data.into() })
        }
        Event::InputClosed { id } => Some(NodeEvent::SenderGone { input: id.to_string() }),
        Event::Stop(StopCause::Manual) => Some(NodeEvent::Stop),
        Event::ParamUpdate { key, value } => Some(NodeEvent::Set { key, value }),
        Event::NodeFailed { source_node_id, error, .. } => {
            Some(NodeEvent::Warning(format!("node `{source_node_id}` failed: {error}")))
        }
        // A failure of the connection also closes inputs, and is handled there.
        Event::Error(text) if !sideline_dora_texts::is_timeout(&text) => Some(NodeEvent::Warning(text)),
        _ => None,
    }
}
