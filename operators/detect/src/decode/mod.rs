//! Decoders of detector outputs: boxes in pixels of the model's input.
//!
//! A decoder is matched by the shapes of the outputs of one run, so a model whose file leaves sizes open is checked
//! like any other.

mod centernet;
mod detr;
mod value_checks;
mod yolov8;
mod yolox;

use serde::{Deserialize, Serialize};
use sideline_inference::Layout;

/// An output format of detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// CenterNet: heat maps whose peaks are the centers of objects, and the distances to the four sides of the box in
    /// each cell.
    Centernet,
    /// YOLOX: a row per anchor with box, objectness and class scores, relative to the grid.
    Yolox,
    /// YOLOv8 to YOLO12 as exported by Ultralytics: a column per anchor with box and class scores.
    Yolov8,
    /// DETR as exported by RF-DETR: a row per query with boxes in one output and class logits in the other.
    Detr,
}

/// A decoded box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodedBox {
    /// x1 y1 x2 y2 in pixels of the model's input.
    pub corners: [f32; 4],
    /// Detection score, 0 to 1.
    pub score: f32,
    /// Number of the class.
    pub class: u16,
}

/// An output tensor of one run.
#[derive(Clone, Debug)]
pub struct OutputTensor<'a> {
    /// Name of the output.
    pub name: &'a str,
    /// Shape of the tensor.
    pub shape: &'a [i64],
    /// Values of the tensor, row-major.
    pub values: &'a [f32],
}

impl std::fmt::Display for OutputTensor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` {:?}", self.name, self.shape)
    }
}

/// Preprocessing of an image for a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Scale per channel: a value is `scale * c + offset`, with c from 0 to 255, for R, G, B.
    pub scale: [f32; 3],
    /// Offset per channel; see `scale`.
    pub offset: [f32; 3],
    /// The channel order is B, G, R.
    pub is_bgr: bool,
    /// Value of the padding of a letterboxed image, 0 to 255; `None` where the image is stretched instead.
    pub padding: Option<f32>,
}

/// Selection of boxes by score and class.
#[derive(Clone, Copy, Debug)]
pub struct DecodeFilter<'a> {
    /// Minimum detection score.
    pub min_score: f32,
    /// Per class: true where it is selected.
    pub classes: &'a [bool],
}

/// Deviation of outputs from the format of a decoder, in words that follow "its outputs".
pub type Mismatch = String;

impl Decoder {
    /// All decoders.
    pub const ALL: [Decoder; 4] = [Decoder::Centernet, Decoder::Yolox, Decoder::Yolov8, Decoder::Detr];

    /// Returns the name in the key `decoder`.
    pub fn name(self) -> &'static str {
        match self {
            Decoder::Centernet => "centernet",
            Decoder::Yolox => "yolox",
            Decoder::Yolov8 => "yolov8",
            Decoder::Detr => "detr",
        }
    }

    /// Returns the decoder of a name; `None` for an unknown one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decoder| decoder.name() == name)
    }

    /// Describes the shapes of the outputs that it decodes.
    pub fn expected_outputs(self) -> &'static str {
        match self {
            Decoder::Centernet => "[N, rows, columns, classes] and [N, rows, columns, 4]",
            Decoder::Yolox => "[N, anchors, 5 + classes]",
            Decoder::Yolov8 => "[N, 4 + classes, anchors]",
            Decoder::Detr => "[N, queries, 4] and [N, queries, classes]",
        }
    }

    /// Returns the preprocessing of its models.
    pub fn preprocessing(self) -> Preprocessing {
        let plain = Preprocessing { scale: [1.0; 3], offset: [0.0; 3], is_bgr: false, padding: Some(0.0) };
        match self {
            Decoder::Centernet => plain,
            // YOLOX (Ge et al. 2021) is trained on OpenCV's BGR images, letterboxed with gray 114.
            Decoder::Yolox => Preprocessing { is_bgr: true, padding: Some(114.0), ..plain },
            Decoder::Yolov8 => Preprocessing { scale: [1.0 / 255.0; 3], padding: Some(114.0), ..plain },
            // Mean and standard deviation of ImageNet; images are stretched.
            Decoder::Detr => {
                let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
                let scale = deviation.map(|deviation: f32| 1.0 / (255.0 * deviation));
                let offset = std::array::from_fn(|c| -mean[c] / deviation[c]);
                Preprocessing { scale, offset, is_bgr: false, padding: None }
            }
        }
    }

    /// Returns the number of classes of a model with these output shapes and an input of `size` (width, height); the
    /// values are ignored.
    ///
    /// # Errors
    /// The shapes do not fit.
    pub fn class_count(self, outputs: &[OutputTensor], size: (usize, usize)) -> Result<usize, Mismatch> {
        match self {
            Decoder::Centernet => centernet::find_heads(&shapes(outputs), size).map(|heads| heads.class_count),
            Decoder::Yolox => yolox::class_count(&shapes(outputs), size),
            Decoder::Yolov8 => yolov8::class_count(&shapes(outputs), size),
            Decoder::Detr => detr::find_heads(outputs).map(|heads| heads.class_count),
        }
    }

    /// Checks that the values of one run have the meaning that this decoder expects: exports of other networks have
    /// outputs of the same shapes. Outputs of zeros only pass, since a model that detects nothing may give them.
    ///
    /// # Errors
    /// The values deviate: the mismatch says what was expected, what was found, and the likely cause.
    pub fn check_values(self, outputs: &[OutputTensor], size: (usize, usize)) -> Result<(), Mismatch> {
        value_checks::check_finite(outputs)?;
        match self {
            Decoder::Centernet => centernet::check_values(outputs, size),
            Decoder::Yolox => yolox::check_values(outputs, size),
            Decoder::Yolov8 => yolov8::check_values(outputs, size),
            Decoder::Detr => detr::check_values(outputs),
        }
    }

    /// Decodes the boxes of the image with index `image` in a batch.
    ///
    /// # Errors
    /// As [`Self::class_count`].
    pub fn decode(
        self,
        outputs: &[OutputTensor],
        image: usize,
        size: (usize, usize),
        filter: &DecodeFilter,
    ) -> Result<Vec<DecodedBox>, Mismatch> {
        match self {
            Decoder::Centernet => centernet::decode(outputs, image, size, filter),
            Decoder::Yolox => yolox::decode(outputs, image, size, filter),
            Decoder::Yolov8 => yolov8::decode(outputs, image, size, filter),
            Decoder::Detr => detr::decode(outputs, image, size, filter),
        }
    }
}

/// Returns the layout of a model's input, recognized by its three channels, with width and height, -1 where the file
/// leaves them open; `None` where it is no image.
pub fn image_input(shape: &[i64]) -> Option<(Layout, i64, i64)> {
    match *shape {
        [_, 3, rows, columns] => Some((Layout::Nchw, columns, rows)),
        [_, rows, columns, 3] => Some((Layout::Nhwc, columns, rows)),
        _ => None,
    }
}

/// Strides of the grids of YOLO's anchors, one anchor per cell, finest first.
const STRIDES: [usize; 4] = [8, 16, 32, 64];

/// Returns the number of [`STRIDES`] that give `anchors` for an input of this size: three, or four for the largest
/// models.
fn stride_count(anchors: usize, (columns, rows): (usize, usize)) -> Option<usize> {
    (3..=4).find(|n| STRIDES[..*n].iter().map(|stride| (columns / stride) * (rows / stride)).sum::<usize>() == anchors)
}

/// Returns the last two dimensions of the only output, which has three.
fn single_output(shapes: &[&[i64]]) -> Result<(usize, usize), Mismatch> {
    match shapes {
        [[_, rows, columns]] => Ok((*rows as usize, *columns as usize)),
        _ => Err("are not a single tensor of three dimensions".into()),
    }
}

/// Returns true for the outputs of built-in non-maximum suppression: corners, score and class of each box, perhaps
/// after the index of the image; or each of these in an output of its own, after their number.
pub(crate) fn has_builtin_nms(shapes: &[&[i64]]) -> bool {
    match shapes {
        // No export keeps more boxes per image; grids have more cells.
        [[.., boxes, 6 | 7] | [_, 6, boxes]] => *boxes <= 1000,
        [[_, 1], [_, boxes, 4], rest @ ..] => {
            rest.len() == 2 && rest.iter().all(|shape| matches!(shape, [_, count] if count == boxes))
        }
        _ => false,
    }
}

/// Repair for a model with built-in non-maximum suppression; follows "its outputs".
pub(crate) const BUILTIN_NMS_HINT: &str =
    "come from built-in non-maximum suppression: export it with `nms=False` (and `end2end=False`)";

/// Returns the values of one image of a batch.
fn image_values<'a>(output: &OutputTensor<'a>, image: usize) -> &'a [f32] {
    let count = output.shape.first().map_or(1, |count| (*count).max(1) as usize);
    let len = output.values.len() / count;
    output.values.get(image * len..(image + 1) * len).unwrap_or(&[])
}

/// Returns the shapes of outputs.
fn shapes<'a>(outputs: &[OutputTensor<'a>]) -> Vec<&'a [i64]> {
    outputs.iter().map(|output| output.shape).collect()
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Returns true for a score below `min_score`, and for NaN.
fn is_below(score: f32, min_score: f32) -> bool {
    score.is_nan() || score < min_score
}

/// Returns index and value of the highest score; `None` without scores. NaN is never the highest.
fn argmax(scores: impl Iterator<Item = f32>) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (i, score) in scores.enumerate() {
        if !score.is_nan() && best.is_none_or(|(_, max)| score > max) {
            best = Some((i, score));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoders_are_matched_by_shapes_alone() {
        type Shapes<'a> = &'a [&'a [i64]];
        let cases: [(Shapes<'static>, (usize, usize), Decoder, usize); 6] = [
            (&[&[1, 128, 128, 80], &[1, 128, 128, 4]], (512, 512), Decoder::Centernet, 80),
            (&[&[1, 3549, 85]], (416, 416), Decoder::Yolox, 80),
            (&[&[1, 84, 8400]], (640, 640), Decoder::Yolov8, 80),
            // An input that is not square, and one class.
            (&[&[1, 5, 5040]], (640, 384), Decoder::Yolov8, 1),
            (&[&[1, 300, 4], &[1, 300, 91]], (560, 560), Decoder::Detr, 91),
            (&[&[1, 300, 91], &[1, 300, 4]], (560, 560), Decoder::Detr, 91),
        ];
        let tensors = |shapes: Shapes<'static>| -> Vec<OutputTensor<'static>> {
            shapes.iter().map(|shape| OutputTensor { name: "", shape, values: &[] }).collect()
        };
        for (shapes, size, expected, classes) in cases {
            let outputs = tensors(shapes);
            let fit: Vec<Decoder> =
                Decoder::ALL.into_iter().filter(|d| d.class_count(&outputs, size).is_ok()).collect();
            assert_eq!(fit, [expected], "{shapes:?}");
            assert_eq!(expected.class_count(&outputs, size), Ok(classes));
        }
        let none: [(Shapes<'static>, (usize, usize)); 4] =
            [(&[&[1, 8400, 84]], (416, 416)), (&[&[1, 300, 6]], (640, 640)), (&[&[1, 4]], (4, 4)), (&[], (640, 640))];
        for (shapes, size) in none {
            let outputs = tensors(shapes);
            assert!(Decoder::ALL.iter().all(|decoder| decoder.class_count(&outputs, size).is_err()), "{shapes:?}");
        }
    }

    #[test]
    fn outputs_of_builtin_nms_are_recognized_by_shape() {
        let is_nms_export = has_builtin_nms;
        assert!(
            is_nms_export(&[&[1, 300, 6]])
                && is_nms_export(&[&[1, 100, 6]])
                && is_nms_export(&[&[20, 7]])
                && is_nms_export(&[&[1, 100, 7]])
        );
        assert!(is_nms_export(&[&[1, 1], &[1, 100, 4], &[1, 100], &[1, 100]]));
        assert!(
            !is_nms_export(&[&[1, 84, 8400]])
                && !is_nms_export(&[&[1, 300, 4], &[1, 300, 91]])
                && !is_nms_export(&[&[1, 6, 8400]])
        );
    }

    #[test]
    fn image_inputs_are_recognized_by_their_channels() {
        assert_eq!(image_input(&[-1, 3, 640, 384]), Some((Layout::Nchw, 384, 640)));
        assert_eq!(image_input(&[1, 512, 256, 3]), Some((Layout::Nhwc, 256, 512)));
        assert_eq!(image_input(&[1, 4, 640, 640]), None);
    }
}
