//! Perceptual colors (OKLab), and color samples of jerseys and pitch.

use sideline_api::Pixels;

/// A color in OKLab: lightness 0 to 1, then green to red, then blue to yellow.
pub type Lab = [f32; 3];

/// Weight of lightness against hue in a color distance: one half of a pitch may lie in the shade.
const LIGHTNESS_WEIGHT: f32 = 0.6;

/// Converts sRGB, 0 to 1, to OKLab (Ottosson, "A perceptual color space for image processing", 2020).
pub fn srgb_to_lab(rgb: [f32; 3]) -> Lab {
    let linear = |value: f32| if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) };
    let [r, g, b] = rgb.map(linear);
    let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
    let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
    let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
    [
        0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
        1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
        0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
    ]
}

/// Converts OKLab to sRGB, 0 to 255.
pub fn lab_to_srgb([lightness, a, b]: Lab) -> [f32; 3] {
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s,
        -0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ];
    linear.map(|value| {
        let value = value.clamp(0.0, 1.0);
        let gamma = if value <= 0.003_130_8 { 12.92 * value } else { 1.055 * value.powf(1.0 / 2.4) - 0.055 };
        (255.0 * gamma).round()
    })
}

/// Returns the distance of two colors in OKLab, with lightness weighted by [`LIGHTNESS_WEIGHT`].
pub fn distance(one: Lab, other: Lab) -> f32 {
    let d: [f32; 3] = std::array::from_fn(|i| one[i] - other[i]);
    (LIGHTNESS_WEIGHT * d[0]).hypot(d[1]).hypot(d[2])
}

/// A box: left, top, right, bottom, px.
pub type Box = [f32; 4];

/// Jersey of an upright person within the box: shares of its height and of its width.
const JERSEY_REGION: ([f32; 2], [f32; 2]) = ([0.2, 0.55], [0.3, 0.7]);
/// Number of sample points, down and across.
const SAMPLE_GRID: [usize; 2] = [9, 7];
/// Minimum share of points that do not show the pitch; with fewer, the jersey itself has the color of the pitch.
const MIN_CLOTH_SHARE: f32 = 0.25;

/// Returns the color of a person's torso: the median of its sample points, those in the color of the pitch (mean,
/// radius) left out.
pub fn sample_jersey(pixels: &Pixels, [x1, y1, x2, y2]: Box, pitch: Option<(Lab, f32)>) -> Lab {
    let mut samples = Vec::with_capacity(SAMPLE_GRID[0] * SAMPLE_GRID[1]);
    for row in 0..SAMPLE_GRID[0] {
        for column in 0..SAMPLE_GRID[1] {
            let position = |i: usize, n: usize, [from, to]: [f32; 2]| from + (to - from) * (i as f32 + 0.5) / n as f32;
            let (down, across) =
                (position(row, SAMPLE_GRID[0], JERSEY_REGION.0), position(column, SAMPLE_GRID[1], JERSEY_REGION.1));
            samples.push(srgb_to_lab(pixels.rgb([x1 + (x2 - x1) * across, y1 + (y2 - y1) * down])));
        }
    }
    let Some((pitch_color, radius)) = pitch else { return median(&mut samples) };
    let mut cloth: Vec<Lab> = samples.iter().copied().filter(|color| distance(*color, pitch_color) > radius).collect();
    if (cloth.len() as f32) < MIN_CLOTH_SHARE * samples.len() as f32 {
        median(&mut samples)
    } else {
        median(&mut cloth)
    }
}

/// Returns the median of each coordinate.
fn median(colors: &mut [Lab]) -> Lab {
    let half = colors.len() / 2;
    std::array::from_fn(|i| {
        colors.select_nth_unstable_by(half, |a, b| a[i].total_cmp(&b[i]));
        colors[half][i]
    })
}

/// Appends color samples of the ground beside a person's legs where no other box is.
pub fn sample_ground(pixels: &Pixels, own: Box, others: &[Box], into: &mut Vec<Lab>) {
    let [x1, y1, x2, y2] = own;
    let (w, h) = (x2 - x1, y2 - y1);
    for down in [0.6, 0.8, 1.0] {
        for across in [-0.5, -0.3, 1.3, 1.5] {
            let at = [x1 + w * across, y1 + h * down];
            let covered = others.iter().any(|b| (b[0]..=b[2]).contains(&at[0]) && (b[1]..=b[3]).contains(&at[1]));
            if !covered && at[0] >= 0.0 && at[1] >= 0.0 {
                into.push(srgb_to_lab(pixels.rgb(at)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_round_trip_and_distances_match_perception() {
        for rgb in [[255.0, 255.0, 255.0], [200.0, 30.0, 30.0], [20.0, 60.0, 140.0], [0.0, 0.0, 0.0]] {
            let converted = lab_to_srgb(srgb_to_lab(rgb.map(|value: f32| value / 255.0)));
            assert!(converted.iter().zip(rgb).all(|(a, b)| (a - b).abs() < 2.0), "{rgb:?} became {converted:?}");
        }
        let to_lab = |rgb: [f32; 3]| srgb_to_lab(rgb.map(|value| value / 255.0));
        let shade = distance(to_lab([200.0, 30.0, 30.0]), to_lab([120.0, 18.0, 18.0]));
        let other = distance(to_lab([200.0, 30.0, 30.0]), to_lab([30.0, 60.0, 200.0]));
        assert!(other > 2.0 * shade, "a red in the shade ({shade}) is closer to red than blue is ({other})");
    }
}
