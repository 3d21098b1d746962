//! A flow as a picture (SVG): boxes with their ports from left to right, modules around their operators, lines by kind,
//! threads by colour, and, of a run that is on, what flows now.

mod layers;
mod svg;

use std::collections::BTreeMap;

use sideline_api::Alignment;

use crate::{Flow, ProcessKind, Sender};
use layers::{Item, lay_out};

/// What a run that is on says of itself, for the picture.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Which run, in a line.
    pub heading: String,
    /// Of each node, by its id: a line of figures.
    pub nodes: BTreeMap<String, String>,
    /// Of each input, by node and name: messages a second.
    pub edges: BTreeMap<(String, String), f64>,
}

/// The picture of a flow, as an SVG file.
pub fn render_svg(flow: &Flow, live: Option<&Live>) -> String {
    let graph = Graph::new(flow, live);
    svg::write(flow, &graph, &graph.level(None).0, live)
}

/// An output: vertex, and number of its output.
type Signal = (usize, usize);

/// How an input is read; of several the first word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Ordinary,
    Side,
    Feedback,
}

/// A node as it is drawn.
struct Vertex {
    id: String,
    /// Its id without those of the modules around it.
    title: String,
    /// Operator, and where it runs.
    about: String,
    /// A line of figures.
    live: Option<String>,
    /// What has the same number has the same thread; none for a program that is not ours.
    colour: Option<usize>,
    module: Option<usize>,
    ins: Vec<In>,
    outs: Vec<(String, String)>,
}

struct In {
    text: String,
    rate: Option<String>,
    signal: Signal,
    kind: Kind,
}

struct Graph<'a> {
    flow: &'a Flow,
    vertices: Vec<Vertex>,
    /// Of each module the one around it.
    parents: Vec<Option<usize>>,
}

/// What is drawn where.
#[derive(Default)]
struct Drawing {
    width: f64,
    height: f64,
    /// Vertex, and its upper left corner.
    boxes: Vec<(usize, f64, f64)>,
    /// Module, corner, width and height.
    modules: Vec<(usize, f64, f64, f64, f64)>,
    lines: Vec<Drawn>,
}

struct Drawn {
    kind: Kind,
    points: Vec<(f64, f64)>,
    back: bool,
    /// It ends at a box, not at the border of a module.
    arrow: bool,
}

/// Inputs (with how they are read) and outputs of a module, with their heights at its border.
type Border = (Vec<(Signal, f64, Kind)>, Vec<(Signal, f64)>);

/// Around what is in a module.
const PAD: f64 = 16.0;
/// Height of a module's name.
const NAME: f64 = 30.0;

impl<'a> Graph<'a> {
    fn new(flow: &'a Flow, live: Option<&Live>) -> Self {
        let inside = |id: &str, module: usize| {
            id.strip_prefix(flow.modules[module].id.as_str()).is_some_and(|rest| rest.starts_with('.'))
        };
        let deepest =
            |id: &str| (0..flow.modules.len()).filter(|m| inside(id, *m)).max_by_key(|m| flow.modules[*m].id.len());
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
            let module = deepest(&node.id);
            let ins = node.inputs.iter().map(|input| {
                let signal = match input.from {
                    Sender::Node { node, output } => (node, output),
                    Sender::Foreign(process) => {
                        let output = input.text.split_once('/').map_or("", |(_, output)| output);
                        let known = flow.processes[process].outputs.iter().position(|known| known == output);
                        let vertex = foreign.iter().position(|known| *known == process).unwrap_or_default();
                        (flow.nodes.len() + vertex, known.unwrap_or_default())
                    }
                };
                let kind = match input.alignment {
                    Alignment::Source(_) => Kind::Ordinary,
                    Alignment::Side { .. } => Kind::Side,
                    Alignment::Feedback => Kind::Feedback,
                };
                let rate = live.and_then(|live| live.edges.get(&(node.id.clone(), input.name.clone())));
                In { text: input.name.clone(), rate: rate.map(|rate| format!("{rate:.1}/s")), signal, kind }
            });
            vertices.push(Vertex {
                title: module.map_or(&*node.id, |m| &node.id[flow.modules[m].id.len() + 1..]).to_owned(),
                about: format!("{}, {place}", node.operator),
                live: live.and_then(|live| live.nodes.get(&node.id).cloned()),
                colour: Some(lane.unwrap_or(node.process)),
                module,
                ins: ins.collect(),
                outs: node.spec.outputs.iter().map(|port| (port.name.to_owned(), port.ty.name().to_owned())).collect(),
                id: node.id.clone(),
            });
        }
        for process in foreign.iter().map(|p| &flow.processes[*p]) {
            let reads = process.inputs.iter().filter_map(|(name, from)| {
                let (id, output) = from.split_once('/')?;
                let sender = flow.processes.iter().position(|process| process.id == id)?;
                let signal = flow.maker(sender, output)?;
                Some(In { text: name.clone(), rate: None, signal, kind: Kind::Side })
            });
            let module = deepest(&process.id);
            vertices.push(Vertex {
                title: module.map_or(&*process.id, |m| &process.id[flow.modules[m].id.len() + 1..]).to_owned(),
                about: "not ours".into(),
                live: None,
                colour: None,
                module,
                ins: reads.collect(),
                outs: process.outputs.iter().map(|name| (name.clone(), String::new())).collect(),
                id: process.id.clone(),
            });
        }
        let parents = flow.modules.iter().map(|module| deepest(&module.id)).collect();
        Graph { flow, vertices, parents }
    }

    /// True when a vertex is in a module, at any depth; everything is in none.
    fn within(&self, vertex: usize, module: Option<usize>) -> bool {
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

    /// Signals read by vertices for which `reads` is true and sent by ones for which `sends` is, with how they are read.
    fn signals(&self, sends: impl Fn(usize) -> bool, reads: impl Fn(usize) -> bool) -> Vec<(Signal, Kind)> {
        let mut found: Vec<(Signal, Kind)> = vec![];
        for input in self.vertices.iter().enumerate().filter(|(v, _)| reads(*v)).flat_map(|(_, v)| &v.ins) {
            if !sends(input.signal.0) {
                continue;
            }
            match found.iter_mut().find(|(signal, _)| *signal == input.signal) {
                Some((_, kind)) => *kind = input.kind.min(*kind),
                None => found.push((input.signal, input.kind)),
            }
        }
        found
    }

    /// Lays out what is in a module, or the whole: modules in it first, each as one box.
    fn level(&self, module: Option<usize>) -> (Drawing, Border) {
        let inside = |v: usize| self.within(v, module);
        let entering = self.signals(|v| !inside(v), inside);
        let leaving = self.signals(inside, |v| !inside(v));
        let mut items: Vec<Item<Signal>> = vec![];
        let mut kinds: Vec<Vec<Kind>> = vec![];
        for (signal, _) in &entering {
            items.push(Item { outs: vec![(*signal, 0.0)], ..Item::default() });
            kinds.push(vec![]);
        }
        let entries = items.len();
        // What stands at this level, in the order of the flow: vertices, and modules with what is in them.
        let mut members: Vec<(usize, Option<usize>)> = vec![];
        for (v, vertex) in self.vertices.iter().enumerate() {
            if vertex.module == module {
                members.push((v, None));
            }
        }
        for inner in (0..self.parents.len()).filter(|inner| self.parents[*inner] == module) {
            let first = (0..self.vertices.len()).find(|v| self.within(*v, Some(inner)));
            members.extend(first.map(|first| (first, Some(inner))));
        }
        members.sort_unstable();
        let mut inner = vec![];
        for (v, module) in &members {
            let (item, kind, drawing) = match module {
                None => {
                    let (item, kind) = self.boxed(*v, entries, &items);
                    (item, kind, None)
                }
                Some(module) => {
                    let (drawing, (ins, outs)) = self.level(Some(*module));
                    let label = svg::wide(&svg::label(self.flow, *module), svg::SMALL) + 2.0 * PAD;
                    let item = Item {
                        width: (drawing.width + 2.0 * PAD).max(label),
                        height: drawing.height + NAME + PAD,
                        ins: ins
                            .iter()
                            .map(|(s, y, kind)| (*s, y + NAME, self.back(*kind, *s, entries, &items)))
                            .collect(),
                        outs: outs.iter().map(|(s, y)| (*s, y + NAME)).collect(),
                        last: false,
                    };
                    (item, ins.iter().map(|(.., kind)| *kind).collect(), Some(drawing))
                }
            };
            items.push(item);
            kinds.push(kind);
            inner.push(drawing);
        }
        let exits = items.len();
        for (signal, kind) in &leaving {
            items.push(Item { ins: vec![(*signal, 0.0, false)], last: true, ..Item::default() });
            kinds.push(vec![*kind]);
        }
        let layout = lay_out(&items);
        let mut drawing = Drawing { width: layout.width, height: layout.height, ..Drawing::default() };
        for line in layout.lines {
            let (to, port) = line.to;
            let mut points = line.points;
            // Ways in and out reach to the border.
            let signal = items[to].ins[port].0;
            if items[..entries].iter().any(|item| item.outs[0].0 == signal)
                && let Some(first) = points.first_mut()
            {
                first.0 -= PAD;
            }
            if to >= exits
                && let Some(last) = points.last_mut()
            {
                last.0 += PAD;
            }
            let arrow = (entries..exits).contains(&to) && inner[to - entries].is_none();
            drawing.lines.push(Drawn { kind: kinds[to][port], points, back: line.back, arrow });
        }
        for (at, ((v, module), child)) in members.iter().zip(inner).enumerate() {
            let (x, y) = layout.places[entries + at];
            match (module, child) {
                (Some(module), Some(child)) => {
                    let item = &items[entries + at];
                    drawing.modules.push((*module, x, y, item.width, item.height));
                    // The way out is at the right border, also where the name is wider than what is inside.
                    let stretch = item.width - child.width - 2.0 * PAD;
                    drawing.take(child, x + PAD, y + NAME, stretch);
                }
                _ => drawing.boxes.push((*v, x, y)),
            }
        }
        let border = (
            entering.iter().zip(&layout.places).map(|((s, kind), (_, y))| (*s, *y, *kind)).collect(),
            leaving.iter().zip(&layout.places[exits..]).map(|((s, _), (_, y))| (*s, *y)).collect(),
        );
        (drawing, border)
    }

    /// A vertex as a box with its ports.
    fn boxed(&self, v: usize, entries: usize, items: &[Item<Signal>]) -> (Item<Signal>, Vec<Kind>) {
        let vertex = &self.vertices[v];
        let (width, height) = svg::size(vertex);
        let port = |i: usize| svg::port(vertex, i);
        let ins = vertex.ins.iter().enumerate();
        let item = Item {
            width,
            height,
            ins: ins
                .map(|(i, input)| (input.signal, port(i), self.back(input.kind, input.signal, entries, items)))
                .collect(),
            outs: (0..vertex.outs.len()).map(|i| ((v, i), port(i))).collect(),
            last: false,
        };
        (item, vertex.ins.iter().map(|input| input.kind).collect())
    }

    /// Feedback comes back from the right, but into a module from its left like everything.
    fn back(&self, kind: Kind, signal: Signal, entries: usize, items: &[Item<Signal>]) -> bool {
        kind == Kind::Feedback && !items[..entries].iter().any(|item| item.outs[0].0 == signal)
    }
}

impl Drawing {
    /// Takes over what another one holds; lines that end at its right border are made longer by `stretch`.
    fn take(&mut self, other: Drawing, x: f64, y: f64, stretch: f64) {
        let border = other.width + PAD;
        self.boxes.extend(other.boxes.into_iter().map(|(v, bx, by)| (v, bx + x, by + y)));
        self.modules.extend(other.modules.into_iter().map(|(m, mx, my, w, h)| (m, mx + x, my + y, w, h)));
        for mut line in other.lines {
            if let Some(last) = line.points.last_mut().filter(|last| !line.arrow && (last.0 - border).abs() < 0.5) {
                last.0 += stretch;
            }
            line.points.iter_mut().for_each(|point| *point = (point.0 + x, point.1 + y));
            self.lines.push(line);
        }
    }
}
