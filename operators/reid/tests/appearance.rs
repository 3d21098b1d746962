//! Tests of the reid operator on drawn people: encodings, different clothes, and hidden people.

use sideline_api::{
    Alignment, Color, Encoding, Frame, Reason, Values,
    testing::{Harness, Setup},
};
use sideline_reid::Reid;
use sideline_sport::tables::{Appearance, Detection, JOINTS, Pose};

const SIZE: (usize, usize) = (320, 240);

/// Colors (R, G, B) of shirt and trousers.
type Clothes = [[u8; 3]; 2];
const RED: Clothes = [[200, 30, 40], [240, 240, 240]];
const BLUE: Clothes = [[30, 60, 200], [30, 30, 35]];

fn harness(people: &'static str, values: impl Into<Values>) -> Harness<Reid> {
    let inputs = Some(vec![
        ("frames", Alignment::Source(sideline_api::SourceId(0))),
        (people, Alignment::Source(sideline_api::SourceId(0))),
    ]);
    Harness::with(values, Setup { inputs, ..Setup::default() }).unwrap()
}

/// Draws people 200 px tall, each at a horizontal center, on a gray wall.
fn picture(people: &[(f32, Clothes)]) -> Vec<[u8; 3]> {
    let mut pixels = vec![[128, 128, 128]; SIZE.0 * SIZE.1];
    for (index, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = ((index % SIZE.0) as f32, (index / SIZE.0) as f32);
        for (middle, [shirt, trousers]) in people {
            if (x - middle).abs() < 40.0 {
                *pixel = match y {
                    60.0..124.0 => *shirt,
                    124.0..220.0 => *trousers,
                    20.0..60.0 if (x - middle).abs() < 20.0 => [200, 160, 140],
                    _ => *pixel,
                };
            }
        }
    }
    pixels
}

fn rgb(pixels: &[[u8; 3]], encoding: Encoding) -> Frame {
    let bytes: Vec<u8> = match encoding {
        Encoding::Bgr8 => pixels.iter().flat_map(|[r, g, b]| [*b, *g, *r]).collect(),
        _ => pixels.iter().flatten().copied().collect(),
    };
    Frame::from_packed(SIZE.0 as u32, SIZE.1 as u32, encoding, Color::default_for_height(240), bytes).unwrap()
}

/// Encodes the picture by the definition of BT.601, video range (ITU-R BT.601-7, section 2.5).
fn yuv(pixels: &[[u8; 3]], encoding: Encoding) -> Frame {
    let planes: Vec<[u8; 3]> = pixels
        .iter()
        .map(|rgb| {
            let [r, g, b] = rgb.map(|value| f32::from(value) / 255.0);
            let y = 0.299 * r + 0.587 * g + 0.114 * b;
            let (u, v) = ((b - y) / 1.772, (r - y) / 1.402);
            [16.0 + 219.0 * y, 128.0 + 224.0 * u, 128.0 + 224.0 * v].map(|value| value.round() as u8)
        })
        .collect();
    let mut bytes: Vec<u8> = planes.iter().map(|[y, ..]| *y).collect();
    let every_second = || (0..SIZE.1).step_by(2).flat_map(|y| (0..SIZE.0).step_by(2).map(move |x| y * SIZE.0 + x));
    if encoding == Encoding::Nv12 {
        bytes.extend(every_second().flat_map(|at| [planes[at][1], planes[at][2]]));
    } else {
        bytes.extend(every_second().map(|at| planes[at][1]));
        bytes.extend(every_second().map(|at| planes[at][2]));
    }
    Frame::from_packed(SIZE.0 as u32, SIZE.1 as u32, encoding, Color::default_for_height(240), bytes).unwrap()
}

fn pose(middle: f32) -> Pose {
    let mut joints = [[f32::NAN; 4]; JOINTS];
    let mut put = |joint: usize, x: f32, y: f32| joints[joint] = [x / SIZE.0 as f32, y / SIZE.1 as f32, 0.0, 0.9];
    for (side, sign) in [(0, 1.0), (1, -1.0)] {
        for (joint, dx, y) in [
            (7, 8.0, 36.0),
            (11, 26.0, 66.0),
            (13, 32.0, 90.0),
            (15, 32.0, 112.0),
            (23, 16.0, 126.0),
            (25, 16.0, 170.0),
        ] {
            put(joint + side, middle + sign * dx, y);
        }
        put(27 + side, middle + sign * 16.0, 214.0);
    }
    put(0, middle, 40.0);
    Pose {
        x1: middle - 42.0,
        y1: 20.0,
        x2: middle + 42.0,
        y2: 220.0,
        score: 0.9,
        model: "drawn".into(),
        aspect: 16.0 / 9.0,
        joints,
        ..Pose::default()
    }
}

fn box_around(middle: f32) -> Detection {
    let Pose { x1, y1, x2, y2, score, .. } = pose(middle);
    Detection { x1, y1, x2, y2, score, class: 0, refined: false }
}

fn describe(frame: Frame, poses: &[Pose]) -> Vec<Appearance> {
    let mut harness = harness("poses", Values::new());
    harness.push_frame("frames", frame).unwrap();
    harness.push("poses", poses).unwrap();
    harness.expect("appearance")
}

fn similarity(a: &Appearance, b: &Appearance) -> f32 {
    a.vector.iter().zip(&b.vector).map(|(a, b)| a * b).sum()
}

#[test]
fn every_encoding_of_a_picture_gives_the_same_vector() {
    let pixels = picture(&[(100.0, RED)]);
    let first = describe(rgb(&pixels, Encoding::Rgb8), &[pose(100.0)]);
    assert!((similarity(&first[0], &first[0]) - 1.0).abs() < 1e-4, "unit length");
    for other in [rgb(&pixels, Encoding::Bgr8), yuv(&pixels, Encoding::I420), yuv(&pixels, Encoding::Nv12)] {
        let encoding = other.encoding();
        let other = describe(other, &[pose(100.0)]);
        assert!(similarity(&first[0], &other[0]) > 0.99, "{encoding:?}: {}", similarity(&first[0], &other[0]));
    }
}

#[test]
fn embeddings_depend_on_clothes_not_on_position_or_light_or_a_missing_arm() {
    let both = describe(yuv(&picture(&[(80.0, RED), (240.0, BLUE)]), Encoding::I420), &[pose(80.0), pose(240.0)]);
    assert_eq!(both.iter().map(|row| row.person).collect::<Vec<_>>(), [0, 1]);
    assert!(both.iter().all(|row| row.quality > 0.9), "{} {}", both[0].quality, both[1].quality);
    assert!(similarity(&both[0], &both[1]) < 0.6, "{}", similarity(&both[0], &both[1]));

    let darker = RED.map(|color| color.map(|value: u8| (f32::from(value) * 0.8) as u8));
    let mut later = pose(200.0);
    later.joints[15] = [f32::NAN; 4];
    let later = describe(yuv(&picture(&[(200.0, darker)]), Encoding::I420), &[later]);
    assert!(similarity(&both[0], &later[0]) > 0.85, "{}", similarity(&both[0], &later[0]));
}

#[test]
fn hidden_parts_lower_the_quality_and_do_not_change_the_visible_parts() {
    let alone = describe(yuv(&picture(&[(100.0, BLUE)]), Encoding::I420), &[pose(100.0)]);
    // The red person hides half of the blue one.
    let frame = || yuv(&picture(&[(100.0, BLUE), (140.0, RED)]), Encoding::I420);
    let pair = describe(frame(), &[pose(100.0), pose(140.0)]);
    assert!(pair[0].quality < 0.75 && pair[0].quality > 0.1, "{}", pair[0].quality);
    assert!(similarity(&alone[0], &pair[0]) > 0.9, "{}", similarity(&alone[0], &pair[0]));
    let nearer = describe(frame(), &[pose(100.0), pose(108.0)]);
    assert!(nearer[0].quality < 0.3, "{}", nearer[0].quality);

    let leaving = describe(yuv(&picture(&[(0.0, BLUE)]), Encoding::I420), &[pose(0.0)]);
    assert!((0.3..0.6).contains(&leaving[0].quality), "half is outside: {}", leaving[0].quality);
}

#[test]
fn detections_are_described_by_thirds_of_their_boxes() {
    let mut harness = harness("detections", Values::new());
    let mut rows = Vec::new();
    for middles in [[80.0, 240.0], [100.0, 220.0]] {
        let people = [(middles[0], RED), (middles[1], BLUE)];
        harness.push_frame("frames", yuv(&picture(&people), Encoding::Nv12)).unwrap();
        harness.push("detections", &middles.map(box_around)).unwrap();
        rows.push(harness.expect::<Appearance>("appearance"));
    }
    assert!(similarity(&rows[0][0], &rows[1][0]) > 0.95 && similarity(&rows[0][1], &rows[1][1]) > 0.95);
    assert!(similarity(&rows[0][0], &rows[1][1]) < 0.6);
    assert!(rows.iter().flatten().all(|row| row.quality > 0.9));
}

#[test]
fn a_person_without_a_box_has_a_row_without_a_vector_and_skips_are_forwarded() {
    let mut harness = harness("poses", Values::new());
    let frame = || yuv(&picture(&[(80.0, RED)]), Encoding::I420);
    harness.push_frame("frames", frame()).unwrap();
    harness.push("poses", &[Pose { x1: f32::NAN, ..pose(80.0) }, pose(80.0)]).unwrap();
    let rows: Vec<Appearance> = harness.expect("appearance");
    assert_eq!((rows[0].quality, rows[0].vector.len()), (0.0, 0));
    assert!(!rows[1].vector.is_empty());

    harness.push_frame("frames", frame()).unwrap();
    harness.skip("poses", Reason::Stride).unwrap();
    assert_eq!(harness.expect_skipped("appearance"), Reason::Stride);
}

#[test]
fn invalid_wiring_is_rejected() {
    let with = |inputs: &[&'static str]| {
        let inputs = Some(inputs.iter().map(|name| (*name, Alignment::Source(sideline_api::SourceId(0)))).collect());
        Harness::<Reid>::with(Values::new(), Setup { inputs, ..Setup::default() }).err().unwrap().message
    };
    assert!(with(&["frames"]).contains("wire its input `poses` or `detections`"));
    assert!(with(&["frames", "poses", "detections"]).contains("it takes one of them"));
    let one = Setup {
        inputs: Some(vec![
            ("frames", Alignment::Source(sideline_api::SourceId(0))),
            ("poses", Alignment::Source(sideline_api::SourceId(0))),
        ]),
        ..Setup::default()
    };
    let error = Harness::<Reid>::with([("method", "embedding")], one).err().unwrap();
    assert!(error.message.contains("model `reid_mobilenetv2` is needed"), "{error}");
}
