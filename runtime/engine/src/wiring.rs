//! Targets of the edges of a plan at run time.

use std::sync::Arc;

use sideline_graph::plan::{LaneId, Plan, PlanNode, Producer};

use crate::shared::{SideQueue, Target};

/// Lane and slot of every node of the plan; `None` for sources.
pub(crate) type SlotTable = Vec<Option<(LaneId, usize)>>;

/// Targets of every output and every border input.
pub(crate) struct Wiring {
    pub slots: SlotTable,
    /// Targets of each output of each node.
    pub routes: Vec<Vec<Vec<Target>>>,
    /// Targets of each border input.
    pub border: Vec<Vec<Target>>,
    pub side_queues: Vec<(LaneId, Arc<SideQueue>)>,
}

impl Wiring {
    /// Creates the targets and the queues of side and feedback inputs.
    pub fn new(plan: &Plan) -> Self {
        let mut wiring = Wiring {
            slots: assign_slots(plan),
            routes: plan.nodes.iter().map(|node| vec![vec![]; node.outputs.len()]).collect(),
            border: vec![vec![]; plan.border_inputs.len()],
            side_queues: vec![],
        };
        for (at, node) in plan.nodes.iter().enumerate() {
            let Some((lane, slot)) = wiring.slots[at] else { continue };
            for (port, input) in node.inputs.iter().enumerate() {
                let target = match input.wired.alignment.queue() {
                    None => Target::Operator { lane, slot, port },
                    Some(capacity) => {
                        let queue = Arc::new(SideQueue::new(slot, port, capacity));
                        wiring.side_queues.push((lane, queue.clone()));
                        Target::Side { lane, queue }
                    }
                };
                match input.producer {
                    Producer::Node { node, output } => wiring.routes[node.0][output].push(target),
                    Producer::Border(border) => wiring.border[border].push(target),
                }
            }
        }
        for (i, output) in plan.border_outputs.iter().enumerate() {
            wiring.routes[output.node.0][output.output].push(Target::Border(i));
        }
        wiring
    }
}

/// Numbers the operators of each lane in the order of the plan.
fn assign_slots(plan: &Plan) -> SlotTable {
    let mut next = vec![0; plan.lanes];
    let assign = |node: &PlanNode| {
        (!node.is_source).then(|| {
            let slot = &mut next[node.lane.0];
            *slot += 1;
            (node.lane, *slot - 1)
        })
    };
    plan.nodes.iter().map(assign).collect()
}
