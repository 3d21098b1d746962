use sideline_api::Color;

use super::*;

const BT709_VIDEO: Color = Color { matrix: Matrix::Bt709, full_range: false };

/// Returns Y, U, V of a picture of smooth waves, for which interpolation is close to the closed form.
fn wave(x: f32, y: f32) -> [f32; 3] {
    [
        120.0 + 50.0 * (x * 0.11).sin() + 20.0 * (y * 0.07).cos(),
        128.0 + 20.0 * (x * 0.05 + y * 0.03).sin(),
        128.0 + 20.0 * (y * 0.06 - x * 0.02).cos(),
    ]
}

/// Returns the waves as a frame: luma at pixel centers, chroma sited as in H.264.
fn frame(encoding: Encoding, width: usize, height: usize, padding: usize) -> Frame {
    let (cw, ch) = (width.div_ceil(2), height.div_ceil(2));
    let luma = |x: usize, y: usize| wave(x as f32 + 0.5, y as f32 + 0.5)[0].round() as u8;
    let chroma = |x: usize, y: usize, c: usize| wave(2.0 * x as f32 + 0.5, 2.0 * y as f32 + 1.0)[c].round() as u8;
    let padded = |padding: usize, row: usize, rows: usize, value: &dyn Fn(usize, usize) -> u8| {
        let stride = row + padding;
        // A visible value, to detect reads of the padding.
        let mut data = vec![255; stride * rows];
        for y in 0..rows {
            for x in 0..row {
                data[y * stride + x] = value(x, y);
            }
        }
        sideline_api::Plane { data: data.into(), stride }
    };
    let fill = |row, rows, value: &dyn Fn(usize, usize) -> u8| padded(padding, row, rows, value);
    let conversion = Conversion::new(BT709_VIDEO.matrix, BT709_VIDEO.full_range);
    let rgb = |x: usize, y: usize, c: usize| {
        let [luma, u, v] = wave(x as f32 + 0.5, y as f32 + 0.5);
        let mut rows = [vec![luma], vec![u], vec![v]];
        conversion.apply(&mut rows);
        rows[c][0].round() as u8
    };
    let planes = match encoding {
        Encoding::I420 => vec![
            fill(width, height, &luma),
            fill(cw, ch, &|x, y| chroma(x, y, 1)),
            // The stride of V may differ from that of U.
            padded(2 * padding, cw, ch, &|x, y| chroma(x, y, 2)),
        ],
        Encoding::Nv12 => vec![fill(width, height, &luma), fill(2 * cw, ch, &|x, y| chroma(x / 2, y, 1 + x % 2))],
        Encoding::Rgb8 => vec![fill(3 * width, height, &|x, y| rgb(x / 3, y, x % 3))],
        Encoding::Bgr8 => vec![fill(3 * width, height, &|x, y| rgb(x / 3, y, 2 - x % 3))],
        Encoding::Jpeg => vec![],
    };
    Frame::from_planes(width as u32, height as u32, encoding, BT709_VIDEO, planes).unwrap()
}

fn tensor_spec(width: usize, height: usize, filter: Filter) -> TensorSpec {
    TensorSpec { width, height, filter, scale: [1.0; 3], offset: [0.0; 3], ..TensorSpec::square(1, 0.0, 255.0) }
}

fn sample(frame: &Frame, region: &Region, spec: TensorSpec) -> Vec<f32> {
    let mut sampler = Sampler::new(spec);
    let mut tensor = vec![f32::NAN; sampler.len()];
    sampler.sample(frame, region, &mut tensor).unwrap();
    tensor
}

/// Returns the waves in closed form at a point of the frame, as RGB; black outside.
fn expected_rgb(x: f32, y: f32, width: f32, height: f32) -> [f32; 3] {
    if x < 0.0 || y < 0.0 || x > width || y > height {
        return [0.0; 3];
    }
    let [luma, u, v] = wave(x, y);
    let mut rows = [vec![luma], vec![u], vec![v]];
    Conversion::new(BT709_VIDEO.matrix, BT709_VIDEO.full_range).apply(&mut rows);
    [rows[0][0], rows[1][0], rows[2][0]]
}

#[test]
fn a_rotated_crop_matches_the_closed_form_in_every_encoding() {
    let region = Region { x: 61.0, y: 47.5, width: 40.0, height: 50.0, rotation: 0.7 };
    for encoding in [Encoding::I420, Encoding::Nv12, Encoding::Rgb8, Encoding::Bgr8] {
        let frame = frame(encoding, 121, 97, 7);
        let tensor = sample(&frame, &region, tensor_spec(64, 48, Filter::Bilinear));
        for i in 0..48 {
            for j in 0..64 {
                let (x, y) = region.to_frame((j as f32 + 0.5) / 64.0 - 0.5, (i as f32 + 0.5) / 48.0 - 0.5);
                let want = expected_rgb(x, y, 121.0, 97.0);
                for c in 0..3 {
                    let got = tensor[(i * 64 + j) * 3 + c];
                    assert!((got - want[c]).abs() < 3.0, "{encoding:?} ({i}, {j}, {c}): {got}, expected {}", want[c]);
                }
            }
        }
    }
}

#[test]
fn samples_at_pixel_centers_are_exact() {
    let frame = frame(Encoding::Rgb8, 16, 12, 0);
    let whole = Region { x: 8.0, y: 6.0, width: 16.0, height: 12.0, rotation: 0.0 };
    for filter in [Filter::Bilinear, Filter::Area] {
        let tensor = sample(&frame, &whole, tensor_spec(16, 12, filter));
        let bytes: Vec<f32> = frame.plane(0).0.iter().map(|byte| f32::from(*byte)).collect();
        assert_eq!(tensor, bytes);
    }
}

#[test]
fn outside_is_black_in_every_encoding_and_filter() {
    for encoding in [Encoding::I420, Encoding::Nv12, Encoding::Bgr8] {
        let frame = frame(encoding, 40, 30, 3);
        for (filter, rotation) in [(Filter::Bilinear, 0.0), (Filter::Area, 0.0), (Filter::Area, 0.3)] {
            // The right half is outside.
            let region = Region { x: 40.0, y: 15.0, width: 40.0, height: 20.0, rotation };
            let tensor = sample(&frame, &region, tensor_spec(16, 8, filter));
            for i in 0..8 {
                let row = &tensor[i * 48..(i + 1) * 48];
                assert!(row[..15].iter().any(|v| *v > 20.0), "{encoding:?} {filter:?} {rotation} {row:?}");
                assert!(row[33..].iter().all(|v| v.abs() < 1e-3), "{encoding:?} {filter:?} {rotation} {row:?}");
            }
        }
    }
}

#[test]
fn the_area_filter_is_the_mean_of_the_covered_pixels() {
    // Alternating black and white columns: a point sample is one or the other, the mean is gray.
    let data: Vec<u8> = (0..64 * 8 * 3).map(|i| if i / 3 % 2 == 0 { 0 } else { 255 }).collect();
    let frame = Frame::from_packed(64, 8, Encoding::Rgb8, BT709_VIDEO, data).unwrap();
    let region = Region { x: 32.0, y: 4.0, width: 64.0, height: 8.0, rotation: 0.0 };
    let mean = sample(&frame, &region, tensor_spec(8, 1, Filter::Area));
    assert!(mean.iter().all(|value| (value - 127.5).abs() < 0.1), "{mean:?}");
    // 6.4 columns each: columns are weighted by their coverage.
    let weighted = sample(&frame, &region, tensor_spec(10, 1, Filter::Area));
    // The first one covers columns 0 to 5 and 0.4 of column 6 (black): 3 white of 6.4.
    assert!((weighted[0] - 255.0 * 3.0 / 6.4).abs() < 0.1, "{weighted:?}");
}

#[test]
fn the_area_filter_matches_the_closed_form_on_planes() {
    for encoding in [Encoding::I420, Encoding::Nv12, Encoding::Rgb8] {
        let frame = frame(encoding, 160, 90, 9);
        let region = Region::letterbox(&frame);
        let tensor = sample(&frame, &region, tensor_spec(40, 40, Filter::Area));
        for i in 12..28 {
            for j in 1..39 {
                // The mean over the 4 x 4 pixels in closed form.
                let mut want = [0.0; 3];
                for k in 0..64 {
                    let (u, v) = ((k % 8) as f32 / 8.0 + 0.0625, (k / 8) as f32 / 8.0 + 0.0625);
                    let point = expected_rgb((j as f32 + u) * 4.0, (i as f32 + v) * 4.0 - 35.0, 160.0, 90.0);
                    (0..3).for_each(|c| want[c] += point[c] / 64.0);
                }
                for c in 0..3 {
                    let got = tensor[(i * 40 + j) * 3 + c];
                    assert!((got - want[c]).abs() < 2.0, "{encoding:?} ({i}, {j}, {c}): {got}, expected {}", want[c]);
                }
            }
        }
    }
}

#[test]
fn both_layouts_hold_the_same_values() {
    let frame = frame(Encoding::I420, 50, 40, 0);
    let region = Region::square(25.0, 20.0, 30.0, -0.4);
    let nhwc = TensorSpec::square(20, -1.0, 1.0);
    let a = sample(&frame, &region, nhwc);
    let b = sample(&frame, &region, TensorSpec { layout: Layout::Nchw, ..nhwc });
    for pixel in 0..400 {
        for c in 0..3 {
            assert_eq!(a[pixel * 3 + c], b[c * 400 + pixel]);
        }
    }
    assert!(a.iter().all(|v| (-1.0..=1.0).contains(v)));
}

#[test]
fn full_range_and_matrices_give_their_primaries() {
    // Pure red by the definitions of BT.601 and BT.709.
    for (color, yuv) in [
        (Color { matrix: Matrix::Bt601, full_range: true }, [76u8, 85, 255]),
        (Color { matrix: Matrix::Bt601, full_range: false }, [81, 90, 240]),
        (Color { matrix: Matrix::Bt709, full_range: true }, [54, 99, 255]),
        (Color { matrix: Matrix::Bt709, full_range: false }, [63, 102, 240]),
    ] {
        let mut data = vec![yuv[0]; 64];
        data.extend([[yuv[1]; 16], [yuv[2]; 16]].concat());
        let frame = Frame::from_packed(8, 8, Encoding::I420, color, data).unwrap();
        let pixel = &sample(&frame, &Region::square(4.0, 4.0, 4.0, 0.0), tensor_spec(1, 1, Filter::Bilinear))[..3];
        assert!(pixel[0] > 252.0 && pixel[1] < 3.0 && pixel[2] < 3.0, "{color:?}: {pixel:?}");
    }
}

#[test]
fn invalid_regions_tensors_and_frames_are_errors() {
    let picture = frame(Encoding::I420, 8, 8, 0);
    let mut sampler = Sampler::new(TensorSpec::square(4, 0.0, 1.0));
    let mut tensor = vec![0.0; 48];
    for region in [
        Region::square(f32::NAN, 4.0, 4.0, 0.0),
        Region::square(4.0, 4.0, f32::INFINITY, 0.0),
        Region::square(4.0, 4.0, 0.0, 0.0),
        Region::square(4.0, 4.0, 4.0, f32::NAN),
        Region::square(1e9, 4.0, 4.0, 0.0),
    ] {
        assert!(sampler.sample(&picture, &region, &mut tensor).is_err(), "{region:?}");
    }
    assert!(sampler.sample(&picture, &Region::letterbox(&picture), &mut tensor[..47]).is_err());
    let jpeg = Frame::from_packed(8, 8, Encoding::Jpeg, BT709_VIDEO, vec![0u8; 4]).unwrap();
    let error = sampler.sample(&jpeg, &Region::letterbox(&picture), &mut tensor).unwrap_err();
    assert!(error.message.contains("JPEG"), "{error}");
}

#[test]
fn tiny_frames_and_distant_regions_give_valid_values() {
    for (width, height) in [(1, 1), (2, 1), (1, 2), (2, 2), (3, 3)] {
        for encoding in [Encoding::I420, Encoding::Nv12, Encoding::Rgb8] {
            let frame = frame(encoding, width, height, 0);
            for rotation in [0.0, 1.0, 3.1] {
                for size in [0.01, 1.0, 5.0, 9000.0] {
                    for at in [-5000.0, 0.0, 1.0, 2.5, 5000.0] {
                        for filter in [Filter::Bilinear, Filter::Area] {
                            let tensor =
                                sample(&frame, &Region::square(at, 1.0, size, rotation), tensor_spec(5, 5, filter));
                            assert!(tensor.iter().all(|v| (0.0..=255.01).contains(v)), "{tensor:?}");
                        }
                    }
                }
            }
        }
    }
}
