//! Renders the SVG. Text is monospaced, so that its width is known; the style has colors for light and dark viewers.

use sideline_api::Mode;
use sideline_graph::Flow;

use super::{Drawing, DrawnEdge, EdgeKind, Graph, LiveStats, Vertex};

/// Font size of titles, in pixels.
const TITLE_SIZE: f64 = 13.0;
/// Font size of all other text, in pixels.
pub(super) const TEXT_SIZE: f64 = 11.0;
/// Width of a character relative to the font size, of the widest common monospaced font.
const CHAR_WIDTH_RATIO: f64 = 0.61;
/// Height of a row of ports, in pixels.
const ROW_HEIGHT: f64 = 17.0;
/// Horizontal padding of text in a box, in pixels.
const PADDING: f64 = 12.0;
/// Margin around the diagram, in pixels.
const MARGIN: f64 = 24.0;
/// Height of the two lines of heading, in pixels.
const HEADING_HEIGHT: f64 = 56.0;
/// Height of the two lines of legend, in pixels.
const LEGEND_HEIGHT: f64 = 44.0;

/// Colors of threads, of medium lightness so that they contrast with both white and black.
const THREAD_COLORS: [&str; 8] =
    ["#4c8bf5", "#e8833a", "#3fa45b", "#b65fc9", "#c9a227", "#2aa5a5", "#d9534f", "#8d6e63"];

const STYLE: &str = "
text { font-family: 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace; font-size: 11px; fill: #24292f }
.page { fill: #ffffff }
.box { fill: #f6f8fa; stroke: #8c959f }
.module { fill: none; stroke: #8c959f; stroke-dasharray: 1 3; stroke-linecap: round }
.title { font-size: 13px; font-weight: bold }
.dim { fill: #656d76 }
.rate { fill: #0a7f3f }
.line { fill: none; stroke: #57606a; stroke-width: 1.4 }
.side { stroke-dasharray: 7 4 }
.feedback { stroke-dasharray: 1.5 4; stroke-linecap: round }
.tip { fill: #57606a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .page { fill: #0d1117 }
  .box { fill: #161b22; stroke: #6e7681 }
  .module { stroke: #6e7681 }
  .dim { fill: #9198a1 }
  .rate { fill: #56d364 }
  .line { stroke: #9198a1 }
  .tip { fill: #9198a1 }
}
";

/// Returns the width of a text in pixels.
pub(super) fn text_width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * CHAR_WIDTH_RATIO
}

/// Returns the label of a module.
pub(super) fn module_label(flow: &Flow, module: usize) -> String {
    let module = &flow.modules[module];
    let processes = if module.fused { "one process under dora" } else { "one process per node under dora" };
    format!("{}  {}, {processes}", module.id, module.file)
}

/// Returns the height of a box above its ports, in pixels.
fn header_height(vertex: &Vertex) -> f64 {
    if vertex.stats.is_some() { 58.0 } else { 43.0 }
}

fn input_label(vertex: &Vertex, i: usize) -> String {
    vertex.inputs.get(i).map_or_else(String::new, |input| match &input.rate {
        Some(rate) => format!("{} {rate}", input.name),
        None => input.name.clone(),
    })
}

fn output_label(vertex: &Vertex, i: usize) -> String {
    vertex.outputs.get(i).map_or_else(String::new, |(name, ty)| format!("{name} {ty}").trim_end().to_owned())
}

/// Returns the width and height of a vertex's box, in pixels.
pub(super) fn box_size(vertex: &Vertex) -> (f64, f64) {
    let rows = vertex.inputs.len().max(vertex.outputs.len());
    let port_width = |label: String| text_width(&label, TEXT_SIZE);
    let ports =
        (0..rows).map(|i| port_width(input_label(vertex, i)) + port_width(output_label(vertex, i)) + 3.0 * PADDING);
    let stats = vertex.stats.as_deref().unwrap_or_default();
    let texts = [(&*vertex.title, TITLE_SIZE), (&*vertex.subtitle, TEXT_SIZE), (stats, TEXT_SIZE)];
    let texts = texts.map(|(text, size)| text_width(text, size) + 2.0 * PADDING);
    (ports.chain(texts).fold(90.0, f64::max).ceil(), header_height(vertex) + rows as f64 * ROW_HEIGHT + 5.0)
}

/// Returns the offset of an input or output from the top of its box, in pixels.
pub(super) fn port_offset(vertex: &Vertex, i: usize) -> f64 {
    header_height(vertex) + (i as f64 + 0.5) * ROW_HEIGHT
}

/// Renders the SVG file.
pub(super) fn render(flow: &Flow, graph: &Graph<'_>, drawing: &Drawing, live: Option<&LiveStats>) -> String {
    let mode = match flow.mode {
        Mode::Live => "live",
        Mode::Complete => "complete",
    };
    let subtitle = match live {
        Some(live) => live.heading.clone(),
        None => format!("{mode}, {} frames in flight per source", flow.window),
    };
    let legend = [
        (EdgeKind::Ordinary, "frame by frame"),
        (EdgeKind::Side, "side input: the newest messages available"),
        (EdgeKind::Feedback, "feedback"),
    ];
    let color_legend = match graph.vertices.iter().any(|vertex| vertex.color.is_none()) {
        true => "Each color is one process under dora.",
        false => "Each color is one thread.",
    };
    let legend_width: f64 = legend.iter().map(|(_, text)| 60.0 + text_width(text, TEXT_SIZE)).sum();
    let texts = [(color_legend, TEXT_SIZE), (&*flow.name, TITLE_SIZE), (&*subtitle, TEXT_SIZE)];
    let text_widths = texts.map(|(text, size)| text_width(text, size));
    let width = text_widths.into_iter().fold(drawing.width.max(legend_width), f64::max) + 2.0 * MARGIN;
    let height = drawing.height + HEADING_HEIGHT + LEGEND_HEIGHT + 2.0 * MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n"
    );
    write_text(&mut out, MARGIN, MARGIN + 12.0, "title", &flow.name);
    write_text(&mut out, MARGIN, MARGIN + 30.0, if live.is_some() { "rate" } else { "dim" }, &subtitle);
    out += &format!("<g transform=\"translate({MARGIN} {})\">\n", MARGIN + HEADING_HEIGHT);
    for (module, x, y, w, h) in &drawing.modules {
        out += &format!(
            "<rect class=\"module\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"8\"/>\n"
        );
        write_text(&mut out, x + 12.0, y + 18.0, "dim", &module_label(flow, *module));
    }
    // Dashed edges are drawn over solid ones, so that both show on a shared route.
    let mut edges: Vec<&DrawnEdge> = drawing.edges.iter().collect();
    edges.sort_by_key(|edge| edge.kind);
    edges.iter().for_each(|edge| draw_edge(&mut out, edge));
    for (v, x, y) in &drawing.boxes {
        draw_vertex(&mut out, &graph.vertices[*v], *x, *y);
    }
    out += "</g>\n";
    let bottom = height - MARGIN - LEGEND_HEIGHT + 26.0;
    let mut x = MARGIN;
    for (kind, meaning) in legend {
        let points = vec![(x, bottom - 4.0), (x + 30.0, bottom - 4.0)];
        draw_edge(&mut out, &DrawnEdge { kind, points, is_backward: false, has_arrow: false });
        write_text(&mut out, x + 38.0, bottom, "dim", meaning);
        x += 60.0 + text_width(meaning, TEXT_SIZE);
    }
    write_text(&mut out, MARGIN, bottom + 18.0, "dim", color_legend);
    out + "</svg>\n"
}

fn write_text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    *out += &format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n", escape(text));
}

fn draw_vertex(out: &mut String, vertex: &Vertex, x: f64, y: f64) {
    let (w, h) = box_size(vertex);
    *out += &format!("<g><title>{}: {}</title>\n", escape(&vertex.id), escape(&vertex.subtitle));
    *out += &format!("<rect class=\"box\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"5\"/>\n");
    if let Some(color) = vertex.color {
        let color = THREAD_COLORS[color % THREAD_COLORS.len()];
        *out +=
            &format!("<rect fill=\"{color}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"5\" rx=\"2.5\"/>\n");
    }
    write_text(out, x + PADDING, y + 21.0, "title", &vertex.title);
    write_text(out, x + PADDING, y + 36.0, "dim", &vertex.subtitle);
    if let Some(stats) = &vertex.stats {
        write_text(out, x + PADDING, y + 51.0, "rate", stats);
    }
    for (i, input) in vertex.inputs.iter().enumerate() {
        let (py, name) = (y + port_offset(vertex, i), escape(&input.name));
        let rate =
            input.rate.as_ref().map_or_else(String::new, |rate| format!(" <tspan class=\"rate\">{rate}</tspan>"));
        *out += &format!("<text x=\"{:.1}\" y=\"{:.1}\">{name}{rate}</text>\n", x + PADDING, py + 4.0);
    }
    for (i, (name, ty)) in vertex.outputs.iter().enumerate() {
        let (px, py) = (x + w, y + port_offset(vertex, i));
        *out += &format!("<circle class=\"tip\" cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\"/>\n");
        *out += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} <tspan class=\"dim\">{}</tspan></text>\n",
            px - PADDING,
            py + 4.0,
            escape(name),
            escape(ty)
        );
    }
    *out += "</g>\n";
}

fn draw_edge(out: &mut String, edge: &DrawnEdge) {
    let class = match edge.kind {
        EdgeKind::Ordinary => "line",
        EdgeKind::Side => "line side",
        EdgeKind::Feedback => "line feedback",
    };
    let mut points = edge.points.clone();
    let tip = points.last().copied().filter(|_| edge.has_arrow);
    // The line ends at the base of the arrowhead.
    if let Some(last) = points.last_mut().filter(|_| edge.has_arrow) {
        last.0 -= 6.0;
    }
    let Some(first) = points.first() else { return };
    let mut path = format!("M{:.1} {:.1}", first.0, first.1);
    for pair in points.windows(2) {
        let ((ax, ay), (bx, by)) = (pair[0], pair[1]);
        if edge.is_backward || ay == by {
            path += &format!(" L{bx:.1} {by:.1}");
        } else {
            let middle = (ax + bx) / 2.0;
            path += &format!(" C{middle:.1} {ay:.1} {middle:.1} {by:.1} {bx:.1} {by:.1}");
        }
    }
    *out += &format!("<path class=\"{class}\" d=\"{path}\"/>\n");
    if let Some((x, y)) = tip {
        *out += &format!("<path class=\"tip\" d=\"M{x:.1} {y:.1} l-8 -4 v8 z\"/>\n");
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
