//! Latency curve as SVG, readable on light and dark pages, without an embedded font.

use std::fmt::Write;

use super::curve::{CurvePoint, LatencyCurve};

/// Size of the image, SVG units.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 470.0;
/// Left and right edge of both panels.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 700.0;
/// Top and bottom of the latency panel.
const LATENCY_PANEL: (f64, f64) = (54.0, 312.0);
/// Top and bottom of the panel of dropped frames.
const DROP_PANEL: (f64, f64) = (350.0, 420.0);

/// Colors by class; they follow the color scheme of the page.
const STYLE: &str = "\
text{font:13px system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;fill:#424a53}\
.title{font-size:15px;font-weight:600;fill:#1f2328}\
.grid{stroke:#d1d9e0;stroke-width:1}.axis{stroke:#818b98;stroke-width:1}\
.ours{stroke:#0969da}.peer{stroke:#bc4c00}.ours-fill{fill:#0969da}.peer-fill{fill:#bc4c00}\
.line{fill:none;stroke-width:2.4;stroke-linejoin:round}.p95{stroke-dasharray:7 4}.p99{stroke-dasharray:2 4}\
@media(prefers-color-scheme:dark){text{fill:#b7bdc8}.title{fill:#f0f6fc}.grid{stroke:#3d444d}.axis{stroke:#7d8590}\
.ours{stroke:#58a6ff}.peer{stroke:#f0883e}.ours-fill{fill:#58a6ff}.peer-fill{fill:#f0883e}}";

/// Draws a latency curve.
pub fn latency_svg(curve: &LatencyCurve) -> String {
    let points = || curve.ours.iter().chain(&curve.peer);
    let most = points().map(|point| point.rate).fold(0.0, f64::max);
    let x = Axis { from: 0.0, to: most, low: LEFT, high: RIGHT };
    // The highest curves set the scale: p99 of Sideline, p95 of the peer. Higher percentiles of a slow peer would
    // compress everything else.
    let highest = curve.ours.iter().map(|point| point.metrics.latency_ms.p99);
    let highest = highest.chain(curve.peer.iter().map(|point| point.metrics.latency_ms.p95));
    let step = nice_step(highest.filter(|ms| ms.is_finite()).fold(1.0, f64::max));
    let top = (points().map(|p| p.metrics.latency_ms.p95).fold(1.0, f64::max) / step).ceil() * step;
    let top = top.max((curve.ours.iter().map(|p| p.metrics.latency_ms.p99).fold(0.0, f64::max) / step).ceil() * step);
    let y = Axis { from: 0.0, to: top, low: LATENCY_PANEL.1, high: LATENCY_PANEL.0 };
    let worst = points().map(|point| point.dropped_percent).fold(0.0, f64::max);
    let drop_top = [10.0, 25.0, 50.0].into_iter().find(|top| worst <= *top).unwrap_or(100.0);
    let drops = Axis { from: 0.0, to: drop_top, low: DROP_PANEL.1, high: DROP_PANEL.0 };

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Latency and dropped frames at each offered frame rate\"><style>{STYLE}</style>\n"
    );
    text(&mut svg, "title", LEFT, 26.0, "start", &format!("fight.yml, {}: capture to motion, ms", curve.video));
    let mut value = 0.0;
    while value <= top + step / 2.0 {
        grid(&mut svg, y.place(value), &format!("{value}"));
        value += step;
    }
    text(&mut svg, "", LEFT, DROP_PANEL.0 - 12.0, "start", "dropped, %");
    for share in [0.0, drop_top] {
        grid(&mut svg, drops.place(share), &format!("{share}"));
    }
    let mut last_label = f64::NEG_INFINITY;
    for point in &curve.ours {
        if x.place(point.rate) - last_label >= 34.0 {
            last_label = x.place(point.rate);
            text(&mut svg, "", last_label, DROP_PANEL.1 + 20.0, "middle", &format!("{}", point.rate));
        }
    }
    text(&mut svg, "", (LEFT + RIGHT) / 2.0, HEIGHT - 8.0, "middle", "frames offered per second");

    let mut names = Vec::new();
    for (class, name, points) in [("ours", "Sideline", &curve.ours), ("peer", "plain Python", &curve.peer)] {
        let latency =
            |value: fn(&CurvePoint) -> f64| points.iter().map(|p| (x.place(p.rate), y.place(value(p)))).collect();
        let mut curves: Vec<(&str, &str, Positions)> = vec![
            ("", "p50", latency(|p| p.metrics.latency_ms.p50)),
            ("p95", "p95", latency(|p| p.metrics.latency_ms.p95)),
        ];
        if class == "ours" {
            curves.push(("p99", "p99", latency(|p| p.metrics.latency_ms.p99)));
        }
        for (dash, quantile, positions) in curves {
            line(&mut svg, &format!("{class} {dash}"), &positions);
            if let Some((_, y)) = positions.last() {
                names.push((*y, format!("{class}-fill"), format!("{name} {quantile}")));
            }
        }
        let dropped: Positions = points.iter().map(|p| (x.place(p.rate), drops.place(p.dropped_percent))).collect();
        line(&mut svg, class, &dropped);
        for (x, y) in dropped {
            let _ = writeln!(svg, "<circle class=\"{class}-fill\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
    }
    // Names are at the ends of their lines, moved apart where they would overlap.
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = LATENCY_PANEL.0;
    for (y, class, name) in names {
        free = y.max(free);
        let _ = writeln!(svg, "<text class=\"{class}\" x=\"{}\" y=\"{:.1}\">{name}</text>", RIGHT + 10.0, free + 4.0);
        free += 17.0;
    }
    svg + "</svg>\n"
}

/// Positions in the image.
type Positions = Vec<(f64, f64)>;

/// Linear mapping of values to positions.
struct Axis {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

impl Axis {
    fn place(&self, value: f64) -> f64 {
        self.low + (value.min(self.to) - self.from) / (self.to - self.from) * (self.high - self.low)
    }
}

/// Returns a step of 1, 2 or 5 times a power of ten, so that four to eight steps reach a value.
fn nice_step(highest: f64) -> f64 {
    let power = 10f64.powf((highest / 8.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|times| times * power)
        .find(|step| highest / step <= 8.0)
        .unwrap_or(10.0 * power)
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

fn grid(svg: &mut String, y: f64, label: &str) {
    let _ = writeln!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
    text(svg, "", LEFT - 8.0, y + 4.5, "end", label);
}

fn line(svg: &mut String, class: &str, positions: &[(f64, f64)]) {
    let positions: Vec<String> = positions.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", positions.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::fight::measure::RunMetrics;
    use sideline_engine::meter::Quantiles;

    fn point(rate: f64, p50: f64, dropped_percent: f64) -> CurvePoint {
        let latency_ms = Quantiles { p50, p95: 2.0 * p50, p99: 3.0 * p50, max: 9.0 * p50 };
        let metrics =
            RunMetrics { offered: 100, handled: 100, fps: rate, latency_ms, cpu_s: 1.0, peak_bytes: 1, poses: 200 };
        CurvePoint { rate, metrics, dropped_percent }
    }

    fn attributes<'a>(svg: &'a str, class: &str, attribute: &str) -> Vec<&'a str> {
        let tags = svg.split('<').filter(|tag| tag.contains(&format!("class=\"{class}\"")));
        tags.filter_map(|tag| tag.split_once(&format!("{attribute}=\""))?.1.split('"').next()).collect()
    }

    #[test]
    fn every_line_has_a_point_for_every_rate() {
        let ours = vec![point(5.0, 10.0, 0.0), point(30.0, 12.0, 0.0), point(60.0, 20.0, 4.0)];
        let peer = vec![point(5.0, 22.0, 0.0), point(30.0, 40.0, 10.0), point(60.0, 70.0, 60.0)];
        let curve = LatencyCurve { video: "a <b> & c".into(), ours, peer };
        let svg = latency_svg(&curve);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("a &lt;b> &amp; c"), "names are escaped");
        for class in ["line ours ", "line ours p95", "line ours p99", "line peer ", "line peer p95"] {
            let lines = attributes(&svg, class, "points");
            assert_eq!(lines.len(), 1, "{class}");
            assert_eq!(lines[0].split(' ').count(), 3, "{class}");
        }
        // 60 frames per second are at the right edge, and a higher latency is further up.
        let ours = attributes(&svg, "line ours ", "points")[0];
        let last: Vec<f64> = ours.rsplit(' ').next().unwrap().split(',').map(|n| n.parse().unwrap()).collect();
        assert_eq!(last[0], RIGHT);
        let peer = attributes(&svg, "line peer ", "points")[0];
        let peers: f64 = peer.rsplit(',').next().unwrap().parse().unwrap();
        assert!(peers < last[1]);
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn a_curve_without_a_peer_is_drawn() {
        let svg = latency_svg(&LatencyCurve { video: "v".into(), ours: vec![point(5.0, 1.0, 0.0)], peer: vec![] });
        assert!(svg.contains("Sideline p50") && !svg.contains("plain Python"));
    }

    #[test]
    fn grid_steps_are_round_numbers() {
        assert_eq!([7.0, 8.0, 9.0, 30.0, 79.0, 200.0, 900.0].map(nice_step), [1.0, 1.0, 2.0, 5.0, 10.0, 50.0, 200.0]);
    }
}
