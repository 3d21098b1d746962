//! `--picture`: the confusion matrix of each dataset as SVG.

use std::fmt::Write;

use sideline_eval::moves::score::ClassificationMetrics;

use super::report::{Report, columns};

/// Width and height of a cell, px.
const CELL: f64 = 34.0;
/// Height of a heading, and distances around tables, px.
const HEADING: f64 = 40.0;
const MARGIN: f64 = 24.0;
/// Width of a character, px.
const CHAR_WIDTH: f64 = 6.8;

const STYLE: &str = "
text { font-family: 'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace; font-size: 11px; fill: #24292f }
.page { fill: #ffffff }
.title { font-size: 13px; font-weight: bold }
.cell { fill: #1f6feb }
.grid { fill: none; stroke: #8c959f; stroke-width: 0.5 }
.on { fill: #ffffff }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .page { fill: #0d1117 }
  .grid { stroke: #6e7681 }
}
";

/// Draws the matrices: rows are true classes, columns predicted ones; the opacity of a cell is its share of the row.
pub fn draw(report: &Report) -> String {
    let mut body = String::new();
    let (mut y, mut right) = (MARGIN, 0.0_f64);
    for (name, dataset) in &report.0 {
        let (accuracy, windows) = (100.0 * dataset.metrics.accuracy, dataset.metrics.windows);
        let title =
            format!("{name} ({}), {}: {accuracy:.1} % of {windows} windows correct", dataset.kind, dataset.classifier);
        let (width, height) = draw_matrix(&mut body, &title, &dataset.metrics, y);
        y += height + MARGIN;
        right = right.max(width);
    }
    let (width, height) = (right + 2.0 * MARGIN, y);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\">\n<style>{STYLE}</style>\n<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n"
    )
}

/// Draws one matrix below `top`; returns its width and height.
fn draw_matrix(body: &mut String, title: &str, metrics: &ClassificationMetrics, top: f64) -> (f64, f64) {
    let columns = columns(metrics);
    let longest = columns.iter().map(|name| name.chars().count()).max().unwrap_or_default() as f64;
    let names = longest * CHAR_WIDTH + 10.0;
    // Column names are written vertically above their columns.
    let (left, first) = (MARGIN + names, top + HEADING + names);
    text(body, MARGIN, top + 14.0, "title", "", title);
    for (at, name) in columns.iter().enumerate() {
        let x = left + (at as f64 + 0.5) * CELL + 4.0;
        let turn = format!(" transform=\"rotate(-90 {x:.1} {:.1})\"", first - 6.0);
        text(body, x, first - 6.0, "", &turn, name);
    }
    for (row, name) in metrics.classes.keys().enumerate() {
        let y = first + row as f64 * CELL;
        text(body, MARGIN, y + CELL / 2.0 + 4.0, "", "", name);
        let predicted = metrics.confusion.get(name);
        let windows: usize = predicted.map_or(0, |row| row.values().sum());
        for (column, class) in columns.iter().enumerate() {
            let x = left + column as f64 * CELL;
            let count = predicted.and_then(|row| row.get(*class)).copied().unwrap_or_default();
            let place = format!("x=\"{x:.1}\" y=\"{y:.1}\" width=\"{CELL}\" height=\"{CELL}\"");
            if count > 0 {
                let share = count as f64 / windows as f64;
                let _ = writeln!(body, "<rect class=\"cell\" {place} fill-opacity=\"{share:.3}\"/>");
                let class = if share > 0.5 { "on" } else { "" };
                let shown = count.to_string();
                text(body, x + (CELL - shown.len() as f64 * CHAR_WIDTH) / 2.0, y + CELL / 2.0 + 4.0, class, "", &shown);
            }
            let _ = writeln!(body, "<rect class=\"grid\" {place}/>");
        }
    }
    let width = names + columns.len() as f64 * CELL;
    (width.max(title.chars().count() as f64 * 8.0), HEADING + names + metrics.classes.len() as f64 * CELL)
}

/// Labels of custom models may contain any characters.
fn text(body: &mut String, x: f64, y: f64, class: &str, more: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(body, "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\"{more}>{text}</text>");
}
