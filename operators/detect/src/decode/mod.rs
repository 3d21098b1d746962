//! What a model's outputs mean: boxes in pixels of the picture it was given.
//!
//! A decoder is told by the shapes that one run gave, so that a model whose file leaves sizes open is checked like any other.

mod centernet;
mod detr;
mod plausible;
mod yolov8;
mod yolox;

use serde::{Deserialize, Serialize};
use sideline_inference::Layout;

/// A way to read a detector's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// Heat maps whose peaks are middles, and the four sides of the box in each cell.
    Centernet,
    /// A row for each anchor: box, that there is something, classes; not yet put on the grid.
    Yolox,
    /// A column for each anchor: box and classes, as Ultralytics exports YOLOv8 to YOLO12.
    Yolov8,
    /// A row for each query: boxes in one output, logits of classes in the other, as RF-DETR exports them.
    Detr,
}

/// A box that a model found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// x1 y1 x2 y2 in pixels of the model's input.
    pub corners: [f32; 4],
    /// Confidence, 0..1.
    pub score: f32,
    /// Number of the class.
    pub class: u16,
}

/// An output as a run gave it.
#[derive(Clone, Debug)]
pub struct Output<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [i64],
    /// Its values, row-major.
    pub values: &'a [f32],
}

impl std::fmt::Display for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` {:?}", self.name, self.shape)
    }
}

/// How a model wants to be shown a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// A value is `scale * c + offset`, with c from 0 to 255, for R, G, B.
    pub scale: [f32; 3],
    /// See `scale`.
    pub offset: [f32; 3],
    /// Blue comes first.
    pub bgr: bool,
    /// What is beside the picture where its shape is another than the input's, 0..255; `None`: the picture is squeezed.
    pub beside: Option<f32>,
}

/// What is asked of a decoder.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Score from which a box is taken.
    pub least: f32,
    /// For each class whether it is wanted.
    pub classes: &'a [bool],
}

/// Why outputs are not what a decoder reads.
pub type Misfit = String;

impl Decoder {
    /// All of them.
    pub const ALL: [Decoder; 4] = [Decoder::Centernet, Decoder::Yolox, Decoder::Yolov8, Decoder::Detr];

    /// As the key `decoder` names it.
    pub fn name(self) -> &'static str {
        match self {
            Decoder::Centernet => "centernet",
            Decoder::Yolox => "yolox",
            Decoder::Yolov8 => "yolov8",
            Decoder::Detr => "detr",
        }
    }

    /// The decoder of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|decoder| decoder.name() == name)
    }

    /// The outputs it reads, in words.
    pub fn reads(self) -> &'static str {
        match self {
            Decoder::Centernet => "[N, rows, columns, classes] and [N, rows, columns, 4]",
            Decoder::Yolox => "[N, anchors, 5 + classes]",
            Decoder::Yolov8 => "[N, 4 + classes, anchors]",
            Decoder::Detr => "[N, queries, 4] and [N, queries, classes]",
        }
    }

    /// How its models want to be shown a picture.
    pub fn look(self) -> Look {
        let plain = Look { scale: [1.0; 3], offset: [0.0; 3], bgr: false, beside: Some(0.0) };
        match self {
            Decoder::Centernet => plain,
            // YOLOX (Ge et al. 2021) is trained on OpenCV's BGR, letterboxed on grey 114.
            Decoder::Yolox => Look { bgr: true, beside: Some(114.0), ..plain },
            Decoder::Yolov8 => Look { scale: [1.0 / 255.0; 3], beside: Some(114.0), ..plain },
            // ImageNet's mean and deviation; pictures are squeezed.
            Decoder::Detr => {
                let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
                let scale = deviation.map(|deviation: f32| 1.0 / (255.0 * deviation));
                let offset = std::array::from_fn(|c| -mean[c] / deviation[c]);
                Look { scale, offset, bgr: false, beside: None }
            }
        }
    }

    /// How many classes a model of this kind has, whose input of `size` (columns, rows) gave these outputs; their values are
    /// not looked at.
    ///
    /// # Errors
    /// Why they do not fit, in words that follow "its outputs".
    pub fn classes(self, outputs: &[Output], size: (usize, usize)) -> Result<usize, Misfit> {
        match self {
            Decoder::Centernet => centernet::outputs(&shapes(outputs), size).map(|heads| heads.classes),
            Decoder::Yolox => yolox::classes(&shapes(outputs), size),
            Decoder::Yolov8 => yolov8::classes(&shapes(outputs), size),
            Decoder::Detr => detr::outputs(outputs).map(|heads| heads.classes),
        }
    }

    /// Checks that the values of one run mean what this decoder reads in them: exports of other networks have outputs of the
    /// same shapes. Says nothing of outputs that hold only zeros, as those of a model may that sees nothing.
    ///
    /// # Errors
    /// What was expected, what was found, and what it may be, in words that follow "its outputs".
    pub fn plausible(self, outputs: &[Output], size: (usize, usize)) -> Result<(), Misfit> {
        plausible::finite(outputs)?;
        match self {
            Decoder::Centernet => centernet::plausible(outputs, size),
            Decoder::Yolox => yolox::plausible(outputs, size),
            Decoder::Yolov8 => yolov8::plausible(outputs, size),
            Decoder::Detr => detr::plausible(outputs),
        }
    }

    /// The boxes in picture number `picture` of a batch.
    ///
    /// # Errors
    /// As [`Self::classes`].
    pub fn decode(
        self,
        outputs: &[Output],
        picture: usize,
        size: (usize, usize),
        wanted: &Wanted,
    ) -> Result<Vec<Found>, Misfit> {
        match self {
            Decoder::Centernet => centernet::decode(outputs, picture, size, wanted),
            Decoder::Yolox => yolox::decode(outputs, picture, size, wanted),
            Decoder::Yolov8 => yolov8::decode(outputs, picture, size, wanted),
            Decoder::Detr => detr::decode(outputs, picture, size, wanted),
        }
    }
}

/// The order of a model's input, told by where its three colours are; with its columns and rows, -1 where it leaves them
/// open. `None` where it is no picture.
pub fn picture_input(shape: &[i64]) -> Option<(Layout, i64, i64)> {
    match *shape {
        [_, 3, rows, columns] => Some((Layout::Nchw, columns, rows)),
        [_, rows, columns, 3] => Some((Layout::Nhwc, columns, rows)),
        _ => None,
    }
}

/// Strides of the grids that YOLO's anchors lie on, one anchor a cell, finest first.
const STRIDES: [usize; 4] = [8, 16, 32, 64];

/// How many of [`STRIDES`] give so many anchors for an input of this size; three, or four for the largest models.
fn grids(anchors: usize, (columns, rows): (usize, usize)) -> Option<usize> {
    (3..=4).find(|n| STRIDES[..*n].iter().map(|stride| (columns / stride) * (rows / stride)).sum::<usize>() == anchors)
}

/// The one output there must be, of three dimensions: without its first.
fn single(shapes: &[&[i64]]) -> Result<(usize, usize), Misfit> {
    match shapes {
        [[_, rows, columns]] => Ok((*rows as usize, *columns as usize)),
        _ => Err("are not one of three dimensions".into()),
    }
}

/// True for outputs of boxes that the model has chosen itself (built-in non-maximum suppression): corners, score and class of
/// each, perhaps after the picture's number; or each of these in an output of its own, after how many there are.
pub(crate) fn chosen_by_the_model(shapes: &[&[i64]]) -> bool {
    match shapes {
        // Nobody keeps more boxes of a picture; grids have more cells.
        [[.., boxes, 6 | 7] | [_, 6, boxes]] => *boxes <= 1000,
        [[_, 1], [_, boxes, 4], rest @ ..] => {
            rest.len() == 2 && rest.iter().all(|shape| matches!(shape, [_, count] if count == boxes))
        }
        _ => false,
    }
}

/// Tells how such a model is exported so that a decoder reads it; follows "its outputs".
pub(crate) const CHOSEN: &str =
    "are boxes that the model has chosen itself: export it with `nms=False` (and `end2end=False`)";

/// The part of an output's values that is about one picture.
fn part<'a>(output: &Output<'a>, picture: usize) -> &'a [f32] {
    let count = output.shape.first().map_or(1, |count| (*count).max(1) as usize);
    let len = output.values.len() / count;
    output.values.get(picture * len..(picture + 1) * len).unwrap_or(&[])
}

/// Shapes of outputs.
fn shapes<'a>(outputs: &[Output<'a>]) -> Vec<&'a [i64]> {
    outputs.iter().map(|output| output.shape).collect()
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// True for a score that is too low, and for NaN.
fn below(score: f32, least: f32) -> bool {
    score.is_nan() || score < least
}

/// The surest of some scores and its place; `None` where there is none. NaN is never the surest.
fn surest(scores: impl Iterator<Item = f32>) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (i, score) in scores.enumerate() {
        if !score.is_nan() && best.is_none_or(|(_, most)| score > most) {
            best = Some((i, score));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_is_told_by_shapes_alone() {
        type Shapes<'a> = &'a [&'a [i64]];
        let cases: [(Shapes<'static>, (usize, usize), Decoder, usize); 6] = [
            (&[&[1, 128, 128, 80], &[1, 128, 128, 4]], (512, 512), Decoder::Centernet, 80),
            (&[&[1, 3549, 85]], (416, 416), Decoder::Yolox, 80),
            (&[&[1, 84, 8400]], (640, 640), Decoder::Yolov8, 80),
            // A picture that is not square, one class.
            (&[&[1, 5, 5040]], (640, 384), Decoder::Yolov8, 1),
            (&[&[1, 300, 4], &[1, 300, 91]], (560, 560), Decoder::Detr, 91),
            (&[&[1, 300, 91], &[1, 300, 4]], (560, 560), Decoder::Detr, 91),
        ];
        let given = |shapes: Shapes<'static>| -> Vec<Output<'static>> {
            shapes.iter().map(|shape| Output { name: "", shape, values: &[] }).collect()
        };
        for (shapes, size, right, classes) in cases {
            let outputs = given(shapes);
            let fit: Vec<Decoder> = Decoder::ALL.into_iter().filter(|d| d.classes(&outputs, size).is_ok()).collect();
            assert_eq!(fit, [right], "{shapes:?}");
            assert_eq!(right.classes(&outputs, size), Ok(classes));
        }
        let none: [(Shapes<'static>, (usize, usize)); 4] =
            [(&[&[1, 8400, 84]], (416, 416)), (&[&[1, 300, 6]], (640, 640)), (&[&[1, 4]], (4, 4)), (&[], (640, 640))];
        for (shapes, size) in none {
            let outputs = given(shapes);
            assert!(Decoder::ALL.iter().all(|decoder| decoder.classes(&outputs, size).is_err()), "{shapes:?}");
        }
    }

    #[test]
    fn boxes_that_a_model_chose_itself_are_told_by_their_shape() {
        let chosen = chosen_by_the_model;
        assert!(chosen(&[&[1, 300, 6]]) && chosen(&[&[1, 100, 6]]) && chosen(&[&[20, 7]]) && chosen(&[&[1, 100, 7]]));
        assert!(chosen(&[&[1, 1], &[1, 100, 4], &[1, 100], &[1, 100]]));
        assert!(!chosen(&[&[1, 84, 8400]]) && !chosen(&[&[1, 300, 4], &[1, 300, 91]]) && !chosen(&[&[1, 6, 8400]]));
    }

    #[test]
    fn pictures_are_told_by_their_colours() {
        assert_eq!(picture_input(&[-1, 3, 640, 384]), Some((Layout::Nchw, 384, 640)));
        assert_eq!(picture_input(&[1, 512, 256, 3]), Some((Layout::Nhwc, 256, 512)));
        assert_eq!(picture_input(&[1, 4, 640, 640]), None);
    }
}
