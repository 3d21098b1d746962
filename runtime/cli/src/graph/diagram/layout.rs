//! Layered graph layout from left to right (Sugiyama, Tagawa and Toda, "Methods for visual understanding of
//! hierarchical system structures", 1981): layers by the longest path, order within a layer by barycenters, vertical
//! positions by weighted least squares. Edges that span several layers pass through dummy nodes, so no edge runs behind
//! a box.

/// A box to lay out, with ports at its sides. Sizes and offsets are in pixels.
#[derive(Clone, Debug, Default)]
pub(super) struct Item<S> {
    pub width: f64,
    pub height: f64,
    /// Inputs: signal, offset from the top of the box, and true if the edge comes back from the right.
    pub inputs: Vec<(S, f64, bool)>,
    /// Outputs: signal, and offset from the top of the box.
    pub outputs: Vec<(S, f64)>,
    /// True for an exit of a module, which is placed in the rightmost layer.
    pub is_exit: bool,
}

/// The route of an edge to an input.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// Index of the item and of its input.
    pub to: (usize, usize),
    /// Points of the route. A forward route is horizontal where two successive points have the same height, and a curve
    /// elsewhere.
    pub points: Vec<(f64, f64)>,
    /// True if the edge runs backward, below all boxes.
    pub is_backward: bool,
}

/// Positions of all items and routes; the upper left corner is (0, 0).
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub width: f64,
    pub height: f64,
    /// Upper left corner of each item.
    pub positions: Vec<(f64, f64)>,
    pub routes: Vec<Route>,
}

/// Vertical gap between two boxes of a layer, in pixels.
const BOX_GAP: f64 = 22.0;
/// Gap between a box and an edge, or between two edges, in pixels.
const EDGE_GAP: f64 = 14.0;
/// Minimum gap between layers, in pixels.
const LAYER_GAP: f64 = 56.0;

/// A node of the layered graph: an item, or a dummy node where an edge crosses a layer.
struct LayerNode {
    layer: usize,
    height: f64,
    /// Index of the item; `None` for a dummy node.
    item: Option<usize>,
    y: f64,
}

/// A segment of an edge between adjacent layers. Each end is a node and the offset from its top.
#[derive(Clone, Copy, PartialEq)]
struct Segment {
    from: (usize, f64),
    to: (usize, f64),
}

/// Lays out items, which should be ordered so that most producers come before their consumers.
pub(super) fn lay_out<S: PartialEq + Copy>(items: &[Item<S>]) -> Layout {
    let producer = |signal: S| {
        items
            .iter()
            .enumerate()
            .find_map(|(at, item)| Some((at, item.outputs.iter().find(|(sent, _)| *sent == signal)?.1)))
    };
    let layers = assign_layers(items, |signal| producer(signal).map(|(at, _)| at));
    let mut nodes: Vec<LayerNode> = (items.iter().zip(&layers).enumerate())
        .map(|(at, (item, layer))| LayerNode { layer: *layer, height: item.height, item: Some(at), y: 0.0 })
        .collect();
    let mut segments: Vec<Segment> = vec![];
    // For each input, the segments that lead to it; empty for a backward edge.
    let mut edges: Vec<((usize, usize), Vec<Segment>)> = vec![];
    // For each signal, its producer and dummy nodes, shared by all its readers.
    let mut chains: Vec<(S, Vec<usize>)> = vec![];
    for (to, item) in items.iter().enumerate() {
        for (port, (signal, offset, is_backward)) in item.inputs.iter().enumerate() {
            let Some((from, sent)) = producer(*signal) else { continue };
            if *is_backward || layers[from] >= layers[to] {
                edges.push(((to, port), vec![]));
                continue;
            }
            let chain = match chains.iter().position(|(chained, _)| chained == signal) {
                Some(chain) => chain,
                None => {
                    chains.push((*signal, vec![from]));
                    chains.len() - 1
                }
            };
            let chain = &mut chains[chain].1;
            while layers[from] + chain.len() < layers[to] {
                nodes.push(LayerNode { layer: layers[from] + chain.len(), height: 0.0, item: None, y: 0.0 });
                chain.push(nodes.len() - 1);
            }
            let steps = layers[to] - layers[from];
            let end = |step: usize| if step == 0 { (from, sent) } else { (chain[step], 0.0) };
            let edge: Vec<Segment> = (0..steps)
                .map(|step| Segment {
                    from: end(step),
                    to: if step + 1 == steps { (to, *offset) } else { end(step + 1) },
                })
                .collect();
            for segment in &edge {
                if !segments.contains(segment) {
                    segments.push(*segment);
                }
            }
            edges.push(((to, port), edge));
        }
    }
    let mut order = order_layers(&nodes, &segments);
    assign_heights(&mut nodes, &mut order, &segments);
    assemble(items, &nodes, &order, &edges)
}

/// Assigns a layer to each item: one after the last layer of the items that it reads, backward edges excepted.
fn assign_layers<S: Copy>(items: &[Item<S>], producer: impl Fn(S) -> Option<usize>) -> Vec<usize> {
    let mut layers: Vec<Option<usize>> = vec![None; items.len()];
    let reads = |at: usize| -> Vec<usize> {
        let ordinary = items[at].inputs.iter().filter(|(.., is_backward)| !is_backward);
        ordinary.filter_map(|(signal, ..)| producer(*signal)).filter(|from| *from != at).collect()
    };
    while let Some(first) = layers.iter().position(Option::is_none) {
        let ready = |at: &usize| layers[*at].is_none() && reads(*at).iter().all(|from| layers[*from].is_some());
        // In a cycle, the first item starts it, and the edges that it waits for run backward.
        let at = (0..items.len()).find(ready).unwrap_or(first);
        layers[at] = Some(reads(at).iter().filter_map(|from| layers[*from]).map(|layer| layer + 1).max().unwrap_or(0));
    }
    let mut layers: Vec<usize> = layers.into_iter().flatten().collect();
    let end = (0..items.len()).filter(|at| !items[*at].is_exit).map(|at| layers[at] + 1).max().unwrap_or(0);
    for at in (0..items.len()).filter(|at| items[*at].is_exit) {
        layers[at] = end;
    }
    layers
}

/// Orders the nodes of each layer from top to bottom to reduce crossings, by barycenter sweeps in alternating
/// directions.
fn order_layers(nodes: &[LayerNode], segments: &[Segment]) -> Vec<Vec<usize>> {
    let count = nodes.iter().map(|node| node.layer + 1).max().unwrap_or(0);
    let mut order: Vec<Vec<usize>> = vec![vec![]; count];
    for (at, node) in nodes.iter().enumerate() {
        order[node.layer].push(at);
    }
    let mut best = (count_crossings(nodes, &order, segments), order.clone());
    for sweep in 0..12 {
        let forward = sweep % 2 == 0;
        for step in 1..count {
            let layer = if forward { step } else { count - 1 - step };
            let rank = ranks(nodes, &order);
            let mut keyed: Vec<(f64, usize)> = order[layer]
                .iter()
                .map(|node| {
                    let neighbors: Vec<f64> = segments
                        .iter()
                        .filter_map(|s| match forward {
                            true => (s.to.0 == *node).then(|| rank[s.from.0] + relative_offset(nodes, s.from)),
                            false => (s.from.0 == *node).then(|| rank[s.to.0] + relative_offset(nodes, s.to)),
                        })
                        .collect();
                    let mean = neighbors.iter().sum::<f64>() / neighbors.len().max(1) as f64;
                    (if neighbors.is_empty() { rank[*node] } else { mean }, *node)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            order[layer] = keyed.into_iter().map(|(_, node)| node).collect();
        }
        let crossed = count_crossings(nodes, &order, segments);
        if crossed < best.0 {
            best = (crossed, order.clone());
        }
    }
    best.1
}

/// Returns the rank of each node within its layer.
fn ranks(nodes: &[LayerNode], order: &[Vec<usize>]) -> Vec<f64> {
    let mut rank = vec![0.0; nodes.len()];
    for layer in order {
        for (at, node) in layer.iter().enumerate() {
            rank[*node] = at as f64;
        }
    }
    rank
}

/// Returns the position of a port in its box as a fraction of the height, 0 at the top.
fn relative_offset(nodes: &[LayerNode], (node, offset): (usize, f64)) -> f64 {
    offset / nodes[node].height.max(1.0)
}

/// Counts the crossings of segments.
fn count_crossings(nodes: &[LayerNode], order: &[Vec<usize>], segments: &[Segment]) -> usize {
    let rank = ranks(nodes, order);
    let at = |end: (usize, f64)| rank[end.0] + relative_offset(nodes, end);
    let crosses = |a: &Segment, b: &Segment| {
        nodes[a.from.0].layer == nodes[b.from.0].layer
            && a.from != b.from
            && (at(a.from) - at(b.from)) * (at(a.to) - at(b.to)) < 0.0
    };
    let pairs = segments.iter().enumerate();
    pairs.map(|(i, a)| segments[i + 1..].iter().filter(|b| crosses(a, b)).count()).sum()
}

/// Assigns vertical positions that make edges as horizontal as possible without overlaps.
fn assign_heights(nodes: &mut [LayerNode], order: &mut [Vec<usize>], segments: &[Segment]) {
    for layer in order.iter() {
        let mut y = 0.0;
        for (i, at) in layer.iter().enumerate() {
            y += if i > 0 { gap(nodes, layer[i - 1], *at) } else { 0.0 };
            nodes[*at].y = y;
            y += nodes[*at].height;
        }
    }
    for sweep in 0..24 {
        for step in 0..order.len() {
            let layer = &order[if sweep % 2 == 0 { step } else { order.len() - 1 - step }];
            // Desired position of each node and its weight. Dummy nodes weigh more, so that long edges are straight.
            let desired: Vec<(f64, f64)> = layer
                .iter()
                .map(|at| {
                    let mut neighbors = vec![];
                    for s in segments {
                        if s.to.0 == *at {
                            neighbors.push(nodes[s.from.0].y + s.from.1 - s.to.1);
                        }
                        if s.from.0 == *at {
                            neighbors.push(nodes[s.to.0].y + s.to.1 - s.from.1);
                        }
                    }
                    let mean = neighbors.iter().sum::<f64>() / neighbors.len().max(1) as f64;
                    let weight = if nodes[*at].item.is_none() { 4.0 } else { 1.0 };
                    if neighbors.is_empty() { (nodes[*at].y, 0.1) } else { (mean, weight) }
                })
                .collect();
            let mut below = vec![0.0; layer.len()];
            for i in 1..layer.len() {
                below[i] = below[i - 1] + nodes[layer[i - 1]].height + gap(nodes, layer[i - 1], layer[i]);
            }
            let relative: Vec<(f64, f64)> = desired.iter().zip(&below).map(|((y, w), below)| (y - below, *w)).collect();
            for ((at, y), below) in layer.iter().zip(isotonic_regression(&relative)).zip(below) {
                nodes[*at].y = y + below;
            }
        }
    }
    let top = nodes.iter().map(|node| node.y).fold(f64::INFINITY, f64::min);
    nodes.iter_mut().for_each(|node| node.y -= if top.is_finite() { top } else { 0.0 });
}

/// Returns the vertical gap between two nodes of a layer.
fn gap(nodes: &[LayerNode], above: usize, below: usize) -> f64 {
    if nodes[above].item.is_some() && nodes[below].item.is_some() { BOX_GAP } else { EDGE_GAP }
}

/// Isotonic regression: returns the non-decreasing sequence with the least weighted squared distance to the values, by
/// the pool-adjacent-violators algorithm. The pairs are value and weight.
fn isotonic_regression(values: &[(f64, f64)]) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = vec![];
    for (value, weight) in values {
        pools.push((*value, *weight, 1));
        while let [.., (a, wa, na), (b, wb, nb)] = pools[..]
            && a > b
        {
            pools.truncate(pools.len() - 2);
            pools.push(((a * wa + b * wb) / (wa + wb), wa + wb, na + nb));
        }
    }
    pools.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}

/// Assigns horizontal positions and computes the points of every route.
fn assemble<S: PartialEq + Copy>(
    items: &[Item<S>],
    nodes: &[LayerNode],
    order: &[Vec<usize>],
    edges: &[((usize, usize), Vec<Segment>)],
) -> Layout {
    let width_of = |at: &usize| nodes[*at].item.map_or(0.0, |item| items[item].width);
    let mut columns: Vec<(f64, f64)> = vec![];
    let mut x = 0.0;
    for (number, layer) in order.iter().enumerate() {
        let width = layer.iter().map(width_of).fold(0.0, f64::max);
        columns.push((x, x + width));
        let leaving = edges.iter().flat_map(|(_, edge)| edge).filter(|s| nodes[s.from.0].layer == number);
        let mut ends: Vec<(usize, f64)> = vec![];
        leaving.for_each(|s| {
            if !ends.contains(&s.from) {
                ends.push(s.from)
            }
        });
        x += width + LAYER_GAP + 5.0 * ends.len() as f64;
    }
    let mut layout = Layout {
        width: columns.last().map_or(0.0, |column| column.1),
        height: nodes.iter().map(|node| node.y + node.height).fold(0.0, f64::max),
        positions: nodes[..items.len()].iter().map(|node| (columns[node.layer].0, node.y)).collect(),
        routes: vec![],
    };
    for (to, edge) in edges {
        let mut points = vec![];
        for segment in edge {
            let (from, next) = (&nodes[segment.from.0], &nodes[segment.to.0]);
            let start = from.item.map_or(columns[from.layer].0, |item| columns[from.layer].0 + items[item].width);
            points.push((start, from.y + segment.from.1));
            points.push((columns[from.layer].1, from.y + segment.from.1));
            points.push((columns[next.layer].0, next.y + segment.to.1));
        }
        let is_backward = edge.is_empty();
        if is_backward {
            let (signal, offset, _) = items[to.0].inputs[to.1];
            let sender = items
                .iter()
                .enumerate()
                .find_map(|(at, item)| Some((at, item.outputs.iter().find(|(sent, _)| *sent == signal)?.1)));
            let Some((sender, sent)) = sender else { continue };
            let (from, here) = (layout.positions[sender], layout.positions[to.0]);
            layout.height += EDGE_GAP;
            let (right, left) = (columns[nodes[sender].layer].1 + EDGE_GAP, here.0 - EDGE_GAP);
            points = vec![
                (from.0 + items[sender].width, from.1 + sent),
                (right, from.1 + sent),
                (right, layout.height),
                (left, layout.height),
                (left, here.1 + offset),
                (here.0, here.1 + offset),
            ];
            layout.width = layout.width.max(right);
        }
        layout.routes.push(Route { to: *to, points, is_backward });
    }
    layout
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(ins: &[u32], outs: &[u32]) -> Item<u32> {
        let at = |i: usize| 10.0 + 16.0 * i as f64;
        Item {
            width: 80.0,
            height: 20.0 + 16.0 * ins.len().max(outs.len()) as f64,
            inputs: ins.iter().enumerate().map(|(i, s)| (*s, at(i), false)).collect(),
            outputs: outs.iter().enumerate().map(|(i, s)| (*s, at(i))).collect(),
            is_exit: false,
        }
    }

    #[test]
    fn boxes_never_overlap_and_routes_run_forward_between_them() {
        // A source, a chain of three, and two sinks that read nearly everything.
        let items = [
            item(&[], &[0]),
            item(&[0], &[1]),
            item(&[1], &[2, 3]),
            item(&[3], &[4]),
            item(&[0, 2, 3, 4], &[]),
            item(&[2, 3, 4], &[]),
        ];
        let layout = lay_out(&items);
        let boxes: Vec<_> =
            layout.positions.iter().zip(&items).map(|((x, y), i)| (*x, *y, x + i.width, y + i.height)).collect();
        for (i, a) in boxes.iter().enumerate() {
            for b in &boxes[i + 1..] {
                assert!(a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1, "{a:?} {b:?}");
            }
        }
        assert_eq!(layout.routes.len(), 10);
        for route in &layout.routes {
            assert!(route.points.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{route:?}");
            for pair in route.points.windows(2).filter(|pair| pair[0].1 == pair[1].1) {
                let crossed = boxes
                    .iter()
                    .find(|b| pair[0].1 > b.1 && pair[0].1 < b.3 && pair[1].0 > b.0 + 1.0 && pair[0].0 < b.2 - 1.0);
                assert!(crossed.is_none(), "{route:?} runs behind {crossed:?}");
            }
        }
    }

    #[test]
    fn the_backward_edge_of_a_cycle_runs_below_the_boxes() {
        let mut first = item(&[0, 1], &[2]);
        first.inputs[1].2 = true;
        let layout = lay_out(&[item(&[], &[0]), first, item(&[2], &[1])]);
        let backward: Vec<_> = layout.routes.iter().filter(|route| route.is_backward).collect();
        assert_eq!(backward.len(), 1);
        assert!(backward[0].points[2].1 > layout.positions[2].1 + 36.0, "{backward:?}");
        // A cycle is also broken if no edge is marked as backward.
        let cycle = lay_out(&[item(&[1], &[0]), item(&[0], &[1])]);
        assert_eq!(cycle.routes.iter().filter(|route| route.is_backward).count(), 1);
    }

    #[test]
    fn a_chain_is_laid_out_in_one_straight_line() {
        let layout = lay_out(&[item(&[], &[0]), item(&[0], &[1]), item(&[1], &[])]);
        assert!(layout.positions.iter().all(|(_, y)| y.abs() < 0.5), "{layout:?}");
    }
}
