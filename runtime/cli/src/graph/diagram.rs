//! Draws a flow as an SVG diagram: nodes as boxes with ports, from left to right; modules as frames around their nodes;
//! edge styles by kind of input; colors by thread; and the statistics of a running flow.

mod layout;
mod svg;

use std::collections::BTreeMap;

use sideline_api::Alignment;
use sideline_graph::{Flow, ProcessKind, Sender};

use layout::{Item, lay_out};

/// Statistics of a running flow, to show in its diagram.
#[derive(Clone, Debug, Default)]
pub struct LiveStats {
    /// Heading of the diagram, one line that names the run.
    pub heading: String,
    /// Statistics of each node as one line of text, by node id.
    pub nodes: BTreeMap<String, String>,
    /// Messages per second of each input, by node id and input name.
    pub edges: BTreeMap<(String, String), f64>,
}

/// Renders the diagram of a flow as an SVG file.
pub fn render_svg(flow: &Flow, live: Option<&LiveStats>) -> String {
    let graph = Graph::new(flow, live);
    svg::render(flow, &graph, &graph.lay_out_level(None).0, live)
}

/// An output: index of the vertex, and index of the output.
type Signal = (usize, usize);

/// Kind of an edge. Where several edges share a route, the first kind in this order is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EdgeKind {
    Ordinary,
    Side,
    Feedback,
}

/// A node of the diagram.
struct Vertex {
    id: String,
    /// Id without the ids of the enclosing modules.
    title: String,
    /// Operator, and the thread or process that runs it.
    subtitle: String,
    /// Statistics, one line.
    stats: Option<String>,
    /// Index of the color. Nodes on the same thread share a color; a foreign program has none.
    color: Option<usize>,
    /// Innermost enclosing module.
    module: Option<usize>,
    inputs: Vec<VertexInput>,
    /// Name and type of each output.
    outputs: Vec<(String, String)>,
}

struct VertexInput {
    name: String,
    rate: Option<String>,
    signal: Signal,
    kind: EdgeKind,
}

struct Graph<'a> {
    flow: &'a Flow,
    vertices: Vec<Vertex>,
    /// Enclosing module of each module.
    parents: Vec<Option<usize>>,
}

/// Positions of all boxes, modules and edges, in pixels.
#[derive(Default)]
struct Drawing {
    width: f64,
    height: f64,
    /// Index of the vertex, and its upper left corner.
    boxes: Vec<(usize, f64, f64)>,
    /// Index of the module, its upper left corner, width and height.
    modules: Vec<(usize, f64, f64, f64, f64)>,
    edges: Vec<DrawnEdge>,
}

struct DrawnEdge {
    kind: EdgeKind,
    points: Vec<(f64, f64)>,
    is_backward: bool,
    /// True if the edge ends at a box, false at the border of a module.
    has_arrow: bool,
}

/// Entering signals (with the kind of their edges) and leaving signals of a module, with their heights at its border.
type Border = (Vec<(Signal, f64, EdgeKind)>, Vec<(Signal, f64)>);

/// Padding between the border of a module and its content, in pixels.
const MODULE_PADDING: f64 = 16.0;
/// Height of a module's label, in pixels.
const MODULE_LABEL_HEIGHT: f64 = 30.0;

impl<'a> Graph<'a> {
    fn new(flow: &'a Flow, live: Option<&LiveStats>) -> Self {
        let is_inside = |id: &str, module: usize| {
            id.strip_prefix(flow.modules[module].id.as_str()).is_some_and(|rest| rest.starts_with('.'))
        };
        let innermost =
            |id: &str| (0..flow.modules.len()).filter(|m| is_inside(id, *m)).max_by_key(|m| flow.modules[*m].id.len());
        let foreign: Vec<usize> =
            (0..flow.processes.len()).filter(|p| flow.processes[*p].kind == ProcessKind::Foreign).collect();
        let plan = flow.plan_embedded().ok();
        let mut vertices = vec![];
        for (at, node) in flow.nodes.iter().enumerate() {
            let lane = plan.as_ref().map(|plan| plan.nodes[at].lane.0);
            let place = match lane {
                Some(lane) => format!("thread {}", lane + 1),
                None => format!("process {}", flow.processes[node.process].id),
            };
            let module = innermost(&node.id);
            let inputs = node.inputs.iter().map(|input| {
                let signal = match input.producer {
                    Sender::Node { node, output } => (node, output),
                    Sender::Foreign(process) => {
                        let output = input.wired.from.split_once('/').map_or("", |(_, output)| output);
                        let output = flow.processes[process].outputs.iter().position(|name| name == output);
                        let vertex = foreign.iter().position(|foreign| *foreign == process).unwrap_or_default();
                        (flow.nodes.len() + vertex, output.unwrap_or_default())
                    }
                };
                let kind = match input.wired.alignment {
                    Alignment::Source(_) => EdgeKind::Ordinary,
                    Alignment::Side { .. } => EdgeKind::Side,
                    Alignment::Feedback => EdgeKind::Feedback,
                };
                let rate = live.and_then(|live| live.edges.get(&(node.id.clone(), input.wired.name.clone())));
                VertexInput {
                    name: input.wired.name.clone(),
                    rate: rate.map(|rate| format!("{rate:.1}/s")),
                    signal,
                    kind,
                }
            });
            vertices.push(Vertex {
                title: module.map_or(&*node.id, |m| &node.id[flow.modules[m].id.len() + 1..]).to_owned(),
                subtitle: format!("{}, {place}", node.operator),
                stats: live.and_then(|live| live.nodes.get(&node.id).cloned()),
                color: Some(lane.unwrap_or(node.process)),
                module,
                inputs: inputs.collect(),
                outputs: node
                    .spec
                    .outputs
                    .iter()
                    .map(|port| (port.name.to_owned(), port.ty.name().to_owned()))
                    .collect(),
                id: node.id.clone(),
            });
        }
        for process in foreign.iter().map(|p| &flow.processes[*p]) {
            let reads = process.inputs.iter().filter_map(|(name, from)| {
                let (id, output) = from.split_once('/')?;
                let sender = flow.processes.iter().position(|process| process.id == id)?;
                let signal = flow.producer_of(sender, output)?;
                Some(VertexInput { name: name.clone(), rate: None, signal, kind: EdgeKind::Side })
            });
            let module = innermost(&process.id);
            vertices.push(Vertex {
                title: module.map_or(&*process.id, |m| &process.id[flow.modules[m].id.len() + 1..]).to_owned(),
                subtitle: "not a Sideline node".into(),
                stats: None,
                color: None,
                module,
                inputs: reads.collect(),
                outputs: process.outputs.iter().map(|name| (name.clone(), String::new())).collect(),
                id: process.id.clone(),
            });
        }
        let parents = flow.modules.iter().map(|module| innermost(&module.id)).collect();
        Graph { flow, vertices, parents }
    }

    /// Returns true if a vertex is in a module, at any depth. `None` stands for the whole flow.
    fn is_within(&self, vertex: usize, module: Option<usize>) -> bool {
        let mut at = self.vertices[vertex].module;
        loop {
            match (module, at) {
                (None, _) => return true,
                (Some(_), None) => return false,
                (Some(wanted), Some(found)) if wanted == found => return true,
                (Some(_), Some(found)) => at = self.parents[found],
            }
        }
    }

    /// Returns the signals from vertices for which `sends` is true to vertices for which `reads` is true, with the kind
    /// of their edges.
    fn signals(&self, sends: impl Fn(usize) -> bool, reads: impl Fn(usize) -> bool) -> Vec<(Signal, EdgeKind)> {
        let mut signals: Vec<(Signal, EdgeKind)> = vec![];
        for input in self.vertices.iter().enumerate().filter(|(v, _)| reads(*v)).flat_map(|(_, v)| &v.inputs) {
            if !sends(input.signal.0) {
                continue;
            }
            match signals.iter_mut().find(|(signal, _)| *signal == input.signal) {
                Some((_, kind)) => *kind = input.kind.min(*kind),
                None => signals.push((input.signal, input.kind)),
            }
        }
        signals
    }

    /// Lays out the content of a module, or of the whole flow. Nested modules are laid out first, each as one box.
    fn lay_out_level(&self, module: Option<usize>) -> (Drawing, Border) {
        let inside = |v: usize| self.is_within(v, module);
        let entering = self.signals(|v| !inside(v), inside);
        let leaving = self.signals(inside, |v| !inside(v));
        let mut items: Vec<Item<Signal>> = vec![];
        let mut kinds: Vec<Vec<EdgeKind>> = vec![];
        for (signal, _) in &entering {
            items.push(Item { outputs: vec![(*signal, 0.0)], ..Item::default() });
            kinds.push(vec![]);
        }
        let entries = items.len();
        // Vertices and nested modules of this level, in the order of the flow.
        let mut members: Vec<(usize, Option<usize>)> = vec![];
        for (v, vertex) in self.vertices.iter().enumerate() {
            if vertex.module == module {
                members.push((v, None));
            }
        }
        for inner in (0..self.parents.len()).filter(|inner| self.parents[*inner] == module) {
            let first = (0..self.vertices.len()).find(|v| self.is_within(*v, Some(inner)));
            members.extend(first.map(|first| (first, Some(inner))));
        }
        members.sort_unstable();
        let mut inner = vec![];
        for (v, module) in &members {
            let (item, kind, drawing) = match module {
                None => {
                    let (item, kind) = self.vertex_item(*v, entries, &items);
                    (item, kind, None)
                }
                Some(module) => {
                    let (drawing, (inputs, outputs)) = self.lay_out_level(Some(*module));
                    let label =
                        svg::text_width(&svg::module_label(self.flow, *module), svg::TEXT_SIZE) + 2.0 * MODULE_PADDING;
                    let item = Item {
                        width: (drawing.width + 2.0 * MODULE_PADDING).max(label),
                        height: drawing.height + MODULE_LABEL_HEIGHT + MODULE_PADDING,
                        inputs: inputs
                            .iter()
                            .map(|(s, y, kind)| {
                                (*s, y + MODULE_LABEL_HEIGHT, self.is_backward(*kind, *s, entries, &items))
                            })
                            .collect(),
                        outputs: outputs.iter().map(|(s, y)| (*s, y + MODULE_LABEL_HEIGHT)).collect(),
                        is_exit: false,
                    };
                    (item, inputs.iter().map(|(.., kind)| *kind).collect(), Some(drawing))
                }
            };
            items.push(item);
            kinds.push(kind);
            inner.push(drawing);
        }
        let exits = items.len();
        for (signal, kind) in &leaving {
            items.push(Item { inputs: vec![(*signal, 0.0, false)], is_exit: true, ..Item::default() });
            kinds.push(vec![*kind]);
        }
        let layout = lay_out(&items);
        let mut drawing = Drawing { width: layout.width, height: layout.height, ..Drawing::default() };
        for route in layout.routes {
            let (to, port) = route.to;
            let mut points = route.points;
            // Edges that enter or leave the module extend to its border.
            let signal = items[to].inputs[port].0;
            if items[..entries].iter().any(|item| item.outputs[0].0 == signal)
                && let Some(first) = points.first_mut()
            {
                first.0 -= MODULE_PADDING;
            }
            if to >= exits
                && let Some(last) = points.last_mut()
            {
                last.0 += MODULE_PADDING;
            }
            let has_arrow = (entries..exits).contains(&to) && inner[to - entries].is_none();
            drawing.edges.push(DrawnEdge { kind: kinds[to][port], points, is_backward: route.is_backward, has_arrow });
        }
        for (at, ((v, module), child)) in members.iter().zip(inner).enumerate() {
            let (x, y) = layout.positions[entries + at];
            match (module, child) {
                (Some(module), Some(child)) => {
                    let item = &items[entries + at];
                    drawing.modules.push((*module, x, y, item.width, item.height));
                    // Leaving edges end at the right border, also if the label is wider than the content.
                    let extension = item.width - child.width - 2.0 * MODULE_PADDING;
                    drawing.embed(child, x + MODULE_PADDING, y + MODULE_LABEL_HEIGHT, extension);
                }
                _ => drawing.boxes.push((*v, x, y)),
            }
        }
        let border = (
            entering.iter().zip(&layout.positions).map(|((s, kind), (_, y))| (*s, *y, *kind)).collect(),
            leaving.iter().zip(&layout.positions[exits..]).map(|((s, _), (_, y))| (*s, *y)).collect(),
        );
        (drawing, border)
    }

    /// Returns the layout item of a vertex, and the kinds of its inputs.
    fn vertex_item(&self, v: usize, entries: usize, items: &[Item<Signal>]) -> (Item<Signal>, Vec<EdgeKind>) {
        let vertex = &self.vertices[v];
        let (width, height) = svg::box_size(vertex);
        let port = |i: usize| svg::port_offset(vertex, i);
        let inputs = vertex.inputs.iter().enumerate();
        let item = Item {
            width,
            height,
            inputs: inputs
                .map(|(i, input)| (input.signal, port(i), self.is_backward(input.kind, input.signal, entries, items)))
                .collect(),
            outputs: (0..vertex.outputs.len()).map(|i| ((v, i), port(i))).collect(),
            is_exit: false,
        };
        (item, vertex.inputs.iter().map(|input| input.kind).collect())
    }

    /// Returns true if an edge comes back from the right: feedback does, except where it enters a module, from the left
    /// like all other edges.
    fn is_backward(&self, kind: EdgeKind, signal: Signal, entries: usize, items: &[Item<Signal>]) -> bool {
        kind == EdgeKind::Feedback && !items[..entries].iter().any(|item| item.outputs[0].0 == signal)
    }
}

impl Drawing {
    /// Adds the content of another drawing at an offset. Edges that end at its right border are lengthened by
    /// `extension`.
    fn embed(&mut self, other: Drawing, x: f64, y: f64, extension: f64) {
        let border = other.width + MODULE_PADDING;
        self.boxes.extend(other.boxes.into_iter().map(|(v, bx, by)| (v, bx + x, by + y)));
        self.modules.extend(other.modules.into_iter().map(|(m, mx, my, w, h)| (m, mx + x, my + y, w, h)));
        for mut edge in other.edges {
            if let Some(last) = edge.points.last_mut().filter(|last| !edge.has_arrow && (last.0 - border).abs() < 0.5) {
                last.0 += extension;
            }
            edge.points.iter_mut().for_each(|point| *point = (point.0 + x, point.1 + y));
            self.edges.push(edge);
        }
    }
}
