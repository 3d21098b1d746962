//! Lays boxes out in layers from left to right (Sugiyama, Tagawa and Toda, "Methods for visual understanding of
//! hierarchical system structures", 1981): layers by the longest path, places in a layer by barycentres, heights by
//! least squares. Lines run in the gaps and through places of their own, never behind a box.

/// What is laid out: a box with ports at its sides. Sizes and offsets in pixels.
#[derive(Clone, Debug, Default)]
pub(super) struct Item<S> {
    pub width: f64,
    pub height: f64,
    /// What it reads: signal, offset from its top, and whether the line comes back from the right.
    pub ins: Vec<(S, f64, bool)>,
    /// What it sends: signal, and offset from its top.
    pub outs: Vec<(S, f64)>,
    /// Kept at the right end: a way out of a module.
    pub last: bool,
}

/// A line to an input.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Index of the item and of its input.
    pub to: (usize, usize),
    /// Points: the line is level between the two of a pair, and bends from a pair to the next.
    pub points: Vec<(f64, f64)>,
    /// It goes round below everything.
    pub back: bool,
}

/// Where everything lies, from (0, 0) on.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub width: f64,
    pub height: f64,
    /// Upper left corner of each item.
    pub places: Vec<(f64, f64)>,
    pub lines: Vec<Line>,
}

/// Between boxes of a layer.
const ROW_GAP: f64 = 22.0;
/// Between a box and a line, or two lines.
const LINE_GAP: f64 = 14.0;
/// Between layers, at least.
const LAYER_GAP: f64 = 56.0;

/// A box, or the place where a line crosses a layer.
struct Place {
    layer: usize,
    height: f64,
    item: Option<usize>,
    y: f64,
}

/// A stretch of a line between neighbouring layers: places, and offsets of its ends in them.
#[derive(Clone, Copy, PartialEq)]
struct Stretch {
    from: (usize, f64),
    to: (usize, f64),
}

/// Lays items out; they are given in an order in which producers mostly stand before consumers.
pub(super) fn lay_out<S: PartialEq + Copy>(items: &[Item<S>]) -> Layout {
    let producer = |signal: S| {
        items
            .iter()
            .enumerate()
            .find_map(|(at, item)| Some((at, item.outs.iter().find(|(sent, _)| *sent == signal)?.1)))
    };
    let layers = layers(items, |signal| producer(signal).map(|(at, _)| at));
    let mut places: Vec<Place> = (items.iter().zip(&layers).enumerate())
        .map(|(at, (item, layer))| Place { layer: *layer, height: item.height, item: Some(at), y: 0.0 })
        .collect();
    let mut stretches: Vec<Stretch> = vec![];
    // Of each input: the stretches that lead to it, or nothing where the line goes round.
    let mut ways: Vec<((usize, usize), Vec<Stretch>)> = vec![];
    // Places of a signal on its way, shared by all who read it.
    let mut chains: Vec<(S, Vec<usize>)> = vec![];
    for (to, item) in items.iter().enumerate() {
        for (port, (signal, offset, back)) in item.ins.iter().enumerate() {
            let Some((from, sent)) = producer(*signal) else { continue };
            if *back || layers[from] >= layers[to] {
                ways.push(((to, port), vec![]));
                continue;
            }
            let chain = match chains.iter().position(|(known, _)| known == signal) {
                Some(chain) => chain,
                None => {
                    chains.push((*signal, vec![from]));
                    chains.len() - 1
                }
            };
            let chain = &mut chains[chain].1;
            while layers[from] + chain.len() < layers[to] {
                places.push(Place { layer: layers[from] + chain.len(), height: 0.0, item: None, y: 0.0 });
                chain.push(places.len() - 1);
            }
            let steps = layers[to] - layers[from];
            let end = |step: usize| if step == 0 { (from, sent) } else { (chain[step], 0.0) };
            let way: Vec<Stretch> = (0..steps)
                .map(|step| Stretch {
                    from: end(step),
                    to: if step + 1 == steps { (to, *offset) } else { end(step + 1) },
                })
                .collect();
            for stretch in &way {
                if !stretches.contains(stretch) {
                    stretches.push(*stretch);
                }
            }
            ways.push(((to, port), way));
        }
    }
    let mut order = order(&places, &stretches);
    heights(&mut places, &mut order, &stretches);
    drawn(items, &places, &order, &ways)
}

/// The layer of each item: one behind the last of those it reads, as far as lines do not come back.
fn layers<S: Copy>(items: &[Item<S>], producer: impl Fn(S) -> Option<usize>) -> Vec<usize> {
    let mut layers: Vec<Option<usize>> = vec![None; items.len()];
    let reads = |at: usize| -> Vec<usize> {
        let ordinary = items[at].ins.iter().filter(|(.., back)| !back);
        ordinary.filter_map(|(signal, ..)| producer(*signal)).filter(|from| *from != at).collect()
    };
    while let Some(first) = layers.iter().position(Option::is_none) {
        let ready = |at: &usize| layers[*at].is_none() && reads(*at).iter().all(|from| layers[*from].is_some());
        // In a ring the first one begins; what it waits for comes back to it.
        let at = (0..items.len()).find(ready).unwrap_or(first);
        layers[at] = Some(reads(at).iter().filter_map(|from| layers[*from]).map(|layer| layer + 1).max().unwrap_or(0));
    }
    let mut layers: Vec<usize> = layers.into_iter().flatten().collect();
    let end = (0..items.len()).filter(|at| !items[*at].last).map(|at| layers[at] + 1).max().unwrap_or(0);
    for at in (0..items.len()).filter(|at| items[*at].last) {
        layers[at] = end;
    }
    layers
}

/// The places of each layer from top to bottom, with few crossings.
fn order(places: &[Place], stretches: &[Stretch]) -> Vec<Vec<usize>> {
    let count = places.iter().map(|place| place.layer + 1).max().unwrap_or(0);
    let mut order: Vec<Vec<usize>> = vec![vec![]; count];
    for (at, place) in places.iter().enumerate() {
        order[place.layer].push(at);
    }
    let mut best = (crossings(places, &order, stretches), order.clone());
    for sweep in 0..12 {
        let forward = sweep % 2 == 0;
        for step in 1..count {
            let layer = if forward { step } else { count - 1 - step };
            let rank = ranks(places, &order);
            let mut keyed: Vec<(f64, usize)> = order[layer]
                .iter()
                .map(|place| {
                    let near: Vec<f64> = stretches
                        .iter()
                        .filter_map(|s| match forward {
                            true => (s.to.0 == *place).then(|| rank[s.from.0] + share(places, s.from)),
                            false => (s.from.0 == *place).then(|| rank[s.to.0] + share(places, s.to)),
                        })
                        .collect();
                    let mean = near.iter().sum::<f64>() / near.len().max(1) as f64;
                    (if near.is_empty() { rank[*place] } else { mean }, *place)
                })
                .collect();
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            order[layer] = keyed.into_iter().map(|(_, place)| place).collect();
        }
        let crossed = crossings(places, &order, stretches);
        if crossed < best.0 {
            best = (crossed, order.clone());
        }
    }
    best.1
}

fn ranks(places: &[Place], order: &[Vec<usize>]) -> Vec<f64> {
    let mut rank = vec![0.0; places.len()];
    for layer in order {
        for (at, place) in layer.iter().enumerate() {
            rank[*place] = at as f64;
        }
    }
    rank
}

/// How far down a box a port is, 0 to 1.
fn share(places: &[Place], (place, offset): (usize, f64)) -> f64 {
    offset / places[place].height.max(1.0)
}

fn crossings(places: &[Place], order: &[Vec<usize>], stretches: &[Stretch]) -> usize {
    let rank = ranks(places, order);
    let at = |end: (usize, f64)| rank[end.0] + share(places, end);
    let crosses = |a: &Stretch, b: &Stretch| {
        places[a.from.0].layer == places[b.from.0].layer
            && a.from != b.from
            && (at(a.from) - at(b.from)) * (at(a.to) - at(b.to)) < 0.0
    };
    let pairs = stretches.iter().enumerate();
    pairs.map(|(i, a)| stretches[i + 1..].iter().filter(|b| crosses(a, b)).count()).sum()
}

/// Heights at which lines are as level as can be, without overlaps.
fn heights(places: &mut [Place], order: &mut [Vec<usize>], stretches: &[Stretch]) {
    for layer in order.iter() {
        let mut y = 0.0;
        for (i, at) in layer.iter().enumerate() {
            y += if i > 0 { gap(places, layer[i - 1], *at) } else { 0.0 };
            places[*at].y = y;
            y += places[*at].height;
        }
    }
    for sweep in 0..24 {
        for step in 0..order.len() {
            let layer = &order[if sweep % 2 == 0 { step } else { order.len() - 1 - step }];
            // Where each would lie were it alone, and how much that counts: a line that crosses a layer wants to be level.
            let wanted: Vec<(f64, f64)> = layer
                .iter()
                .map(|at| {
                    let mut near = vec![];
                    for s in stretches {
                        if s.to.0 == *at {
                            near.push(places[s.from.0].y + s.from.1 - s.to.1);
                        }
                        if s.from.0 == *at {
                            near.push(places[s.to.0].y + s.to.1 - s.from.1);
                        }
                    }
                    let mean = near.iter().sum::<f64>() / near.len().max(1) as f64;
                    let weight = if places[*at].item.is_none() { 4.0 } else { 1.0 };
                    if near.is_empty() { (places[*at].y, 0.1) } else { (mean, weight) }
                })
                .collect();
            let mut below = vec![0.0; layer.len()];
            for i in 1..layer.len() {
                below[i] = below[i - 1] + places[layer[i - 1]].height + gap(places, layer[i - 1], layer[i]);
            }
            let free: Vec<(f64, f64)> = wanted.iter().zip(&below).map(|((y, w), below)| (y - below, *w)).collect();
            for ((at, y), below) in layer.iter().zip(rising(&free)).zip(below) {
                places[*at].y = y + below;
            }
        }
    }
    let top = places.iter().map(|place| place.y).fold(f64::INFINITY, f64::min);
    places.iter_mut().for_each(|place| place.y -= if top.is_finite() { top } else { 0.0 });
}

fn gap(places: &[Place], above: usize, below: usize) -> f64 {
    if places[above].item.is_some() && places[below].item.is_some() { ROW_GAP } else { LINE_GAP }
}

/// The rising sequence nearest to these values in the weighted square: neighbours that fall are pooled.
fn rising(values: &[(f64, f64)]) -> Vec<f64> {
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

/// Columns, and the points of every line.
fn drawn<S: PartialEq + Copy>(
    items: &[Item<S>],
    places: &[Place],
    order: &[Vec<usize>],
    ways: &[((usize, usize), Vec<Stretch>)],
) -> Layout {
    let width_of = |at: &usize| places[*at].item.map_or(0.0, |item| items[item].width);
    let mut columns: Vec<(f64, f64)> = vec![];
    let mut x = 0.0;
    for (number, layer) in order.iter().enumerate() {
        let width = layer.iter().map(width_of).fold(0.0, f64::max);
        columns.push((x, x + width));
        let leaving = ways.iter().flat_map(|(_, way)| way).filter(|s| places[s.from.0].layer == number);
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
        height: places.iter().map(|place| place.y + place.height).fold(0.0, f64::max),
        places: places[..items.len()].iter().map(|place| (columns[place.layer].0, place.y)).collect(),
        lines: vec![],
    };
    for (to, way) in ways {
        let mut points = vec![];
        for stretch in way {
            let (from, next) = (&places[stretch.from.0], &places[stretch.to.0]);
            let start = from.item.map_or(columns[from.layer].0, |item| columns[from.layer].0 + items[item].width);
            points.push((start, from.y + stretch.from.1));
            points.push((columns[from.layer].1, from.y + stretch.from.1));
            points.push((columns[next.layer].0, next.y + stretch.to.1));
        }
        let back = way.is_empty();
        if back {
            let (signal, offset, _) = items[to.0].ins[to.1];
            let sender = items
                .iter()
                .enumerate()
                .find_map(|(at, item)| Some((at, item.outs.iter().find(|(sent, _)| *sent == signal)?.1)));
            let Some((sender, sent)) = sender else { continue };
            let (from, here) = (layout.places[sender], layout.places[to.0]);
            layout.height += LINE_GAP;
            let (right, left) = (columns[places[sender].layer].1 + LINE_GAP, here.0 - LINE_GAP);
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
        layout.lines.push(Line { to: *to, points, back });
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
            ins: ins.iter().enumerate().map(|(i, s)| (*s, at(i), false)).collect(),
            outs: outs.iter().enumerate().map(|(i, s)| (*s, at(i))).collect(),
            last: false,
        }
    }

    #[test]
    fn boxes_never_overlap_and_lines_run_forward_past_them() {
        // A source, a chain of three, and two leaves that read nearly everything.
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
            layout.places.iter().zip(&items).map(|((x, y), i)| (*x, *y, x + i.width, y + i.height)).collect();
        for (i, a) in boxes.iter().enumerate() {
            for b in &boxes[i + 1..] {
                assert!(a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1, "{a:?} {b:?}");
            }
        }
        assert_eq!(layout.lines.len(), 10);
        for line in &layout.lines {
            assert!(line.points.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{line:?}");
            for pair in line.points.windows(2).filter(|pair| pair[0].1 == pair[1].1) {
                let crossed = boxes
                    .iter()
                    .find(|b| pair[0].1 > b.1 && pair[0].1 < b.3 && pair[1].0 > b.0 + 1.0 && pair[0].0 < b.2 - 1.0);
                assert!(crossed.is_none(), "{line:?} runs behind {crossed:?}");
            }
        }
    }

    #[test]
    fn a_ring_is_laid_out_and_its_line_comes_back_below() {
        let mut first = item(&[0, 1], &[2]);
        first.ins[1].2 = true;
        let layout = lay_out(&[item(&[], &[0]), first, item(&[2], &[1])]);
        let back: Vec<_> = layout.lines.iter().filter(|line| line.back).collect();
        assert_eq!(back.len(), 1);
        assert!(back[0].points[2].1 > layout.places[2].1 + 36.0, "{back:?}");
        // Without a word of which line comes back, too.
        let ring = lay_out(&[item(&[1], &[0]), item(&[0], &[1])]);
        assert_eq!(ring.lines.iter().filter(|line| line.back).count(), 1);
    }

    #[test]
    fn a_chain_is_one_straight_line() {
        let layout = lay_out(&[item(&[], &[0]), item(&[0], &[1]), item(&[1], &[])]);
        assert!(layout.places.iter().all(|(_, y)| y.abs() < 0.5), "{layout:?}");
    }
}
