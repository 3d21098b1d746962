//! A detector ready to look: the model, how it wants to be shown a picture, how its outputs are read, its classes' names.

use sideline_api::{Error, Frame, Resources, Result, models::own_file};
use sideline_inference::{Filter, Layout, Sampler, Sampling, Session};

use crate::{
    config::DetectConfig,
    decode::{CHOSEN, Decoder, Look, Output, Wanted, chosen_by_the_model, picture_input},
    labels,
    tiles::{Piece, View},
};

/// What a model file turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// How its outputs are read.
    pub decoder: Decoder,
    /// How many classes it has.
    pub classes: usize,
    /// Columns and rows of its input.
    pub size: (usize, usize),
    /// Order of its input.
    pub layout: Layout,
    /// It takes several pictures a run.
    pub several: bool,
}

impl Kind {
    /// Looks at the model's input and runs it once on black, so that its outputs' shapes are known whatever the file leaves
    /// open, and whether their values mean what the decoder reads in them. `wanted`: the decoder it should be for; `open`:
    /// columns and rows where it leaves them open.
    ///
    /// # Errors
    /// When it is no detector, or none for that decoder: which shapes were found, and which decoder would read them; what is
    /// wrong with their values.
    pub fn of(session: &mut Session, wanted: Option<Decoder>, open: usize) -> Result<Self> {
        let (several, layout, size) = input(session, open)?;
        let given = on_black(session, layout, size)?;
        let outputs: Vec<Output> = given.iter().map(Given::output).collect();
        let said: Vec<String> = outputs.iter().map(ToString::to_string).collect();
        let said = said.join(", ");
        let fitting: Vec<Decoder> =
            Decoder::ALL.into_iter().filter(|decoder| decoder.classes(&outputs, size).is_ok()).collect();
        let decoder = match (wanted, &fitting[..]) {
            (Some(decoder), _) => decoder,
            (None, [decoder]) => *decoder,
            (None, []) => {
                let all: Vec<String> =
                    Decoder::ALL.iter().map(|decoder| format!("{}: {}", decoder.name(), decoder.reads())).collect();
                // An export of the most frequent kind has a mend of its own.
                let shapes: Vec<&[i64]> = outputs.iter().map(|output| output.shape).collect();
                let hint = if chosen_by_the_model(&shapes) { format!(". They {CHOSEN}") } else { String::new() };
                return Err(session
                    .unlike(format!("no decoder reads its outputs {said}{hint}. Decoders read {}", all.join("; "))));
            }
            (None, _) => {
                let names: Vec<&str> = fitting.iter().map(|decoder| decoder.name()).collect();
                return Err(
                    session.unlike(format!("its outputs {said} fit several decoders: choose {}", names.join(" or ")))
                );
            }
        };
        let classes = decoder.classes(&outputs, size).map_err(|misfit| {
            let mend = match &fitting[..] {
                [] => "no other decoder reads them either".to_owned(),
                others => format!(
                    "choose the decoder {}",
                    others.iter().map(|decoder| decoder.name()).collect::<Vec<_>>().join(" or ")
                ),
            };
            session.unlike(format!(
                "the decoder {} reads {}, and its outputs {misfit}: {said}; {mend}",
                decoder.name(),
                decoder.reads()
            ))
        })?;
        if classes == 0 || classes > usize::from(u16::MAX) {
            return Err(session.unlike(format!("its outputs {said} hold {classes} classes")));
        }
        decoder.plausible(&outputs, size).map_err(|misfit| implausible(session, decoder, &misfit))?;
        Ok(Self { decoder, classes, size, layout, several })
    }
}

impl Kind {
    /// Checks that there is a name for each class.
    ///
    /// # Errors
    /// When there are more or fewer names than classes.
    pub fn check_labels(&self, model: &str, labels: &[String]) -> Result<()> {
        if labels.len() == self.classes {
            return Ok(());
        }
        Err(Error::config(format!(
            "model `{model}` has {} classes, and {} names were given for them: `{}` is the first, `{}` the last",
            self.classes,
            labels.len(),
            labels.first().map_or("", String::as_str),
            labels.last().map_or("", String::as_str)
        )))
    }
}

/// An output that is kept after its run.
struct Given {
    name: String,
    shape: Vec<i64>,
    values: Vec<f32>,
}

impl Given {
    fn output(&self) -> Output<'_> {
        Output { name: &self.name, shape: &self.shape, values: &self.values }
    }
}

/// Runs the model on black and returns its outputs.
fn on_black(session: &mut Session, layout: Layout, size: (usize, usize)) -> Result<Vec<Given>> {
    let names: Vec<String> = session.outputs().map(|output| output.name().to_owned()).collect();
    if names.is_empty() {
        return Err(session.unlike("it has no output"));
    }
    let black = vec![0.0; size.0 * size.1 * 3];
    let given = session.run(&[(&shape(layout, size, 1), &black)])?;
    let read = |name: String| {
        let (shape, values) = given.tensor(&name)?;
        let (shape, values) = (shape.to_vec(), values.to_vec());
        Ok(Given { name, shape, values })
    };
    names.into_iter().map(read).collect()
}

/// The error of a model whose outputs have the decoder's shapes and another meaning.
fn implausible(session: &Session, decoder: Decoder, misfit: &str) -> Error {
    session.unlike(format!(
        "the decoder {} reads its outputs, and they {misfit}. Another decoder is named by `decoder` (`models add`: `--decoder`)",
        decoder.name()
    ))
}

/// Whether the model takes several pictures, how they lie, and their columns and rows.
fn input(session: &Session, open: usize) -> Result<(bool, Layout, (usize, usize))> {
    let inputs: Vec<_> = session.inputs().collect();
    let wrong = || {
        let has: Vec<String> = inputs.iter().map(ToString::to_string).collect();
        session.unlike(format!(
            "one picture is expected as its input, f32 [N, 3, rows, columns] or [N, rows, columns, 3]; it takes {} (a model \
             in half precision is to be exported in full)",
            has.join(", ")
        ))
    };
    let [tensor] = &inputs[..] else { return Err(wrong()) };
    let shape = tensor.shape().ok_or_else(wrong)?;
    let (layout, columns, rows) = picture_input(shape).ok_or_else(wrong)?;
    let count = shape[0];
    if count != 1 && count != -1 {
        return Err(session.unlike(format!("it takes {count} pictures at once; export it for one, or for any number")));
    }
    let length = |length: i64| if length > 0 { length as usize } else { open };
    Ok((count == -1, layout, (length(columns), length(rows))))
}

fn shape(layout: Layout, (columns, rows): (usize, usize), count: usize) -> [i64; 4] {
    match layout {
        Layout::Nchw => [count as i64, 3, rows as i64, columns as i64],
        Layout::Nhwc => [count as i64, rows as i64, columns as i64, 3],
    }
}

/// A model with its buffers.
pub struct Model {
    session: Session,
    kind: Kind,
    look: Look,
    labels: Vec<String>,
    outputs: Vec<String>,
    sampler: Sampler,
    tensor: Vec<f32>,
    warm_ns: i64,
    /// Runs whose values are still to be looked at: what a black picture does not show, the first frames may.
    unproven: u32,
}

/// Runs on real pictures whose values are looked at.
const PROOFS: u32 = 3;

impl Model {
    /// Loads the model that a configuration names, checks it and warms it up.
    ///
    /// # Errors
    /// When it is missing, changed, broken, of another shape than its decoder reads, or its classes have no names.
    pub fn load(config: &DetectConfig, resources: &Resources) -> Result<Self> {
        let mut session = Session::load(resources, &config.model)?;
        let entry = match own_file(&config.model) {
            Some(_) => None,
            None => Some(resources.models.present(&config.model)?.1),
        };
        let named = entry.and_then(|entry| Decoder::from_name(&entry.decoder));
        let kind = Kind::of(&mut session, config.decoder.decoder().or(named), config.size as usize)?;
        let of_entry = || entry.map(|entry| labels::resolved(&entry.labels)).filter(|labels| !labels.is_empty());
        let labels = match labels::of_key(&config.labels, resources)?.or_else(of_entry) {
            Some(labels) => labels,
            None => labels::of_model(&session)?.ok_or_else(|| {
                Error::config(format!(
                    "model `{}` does not say what its {} classes are called: give `labels`, a file with one name a line, or \
                     `coco` where they are COCO's 80, `coco91` where they are numbered as its categories are",
                    session.name(),
                    kind.classes
                ))
            })?,
        };
        kind.check_labels(session.name(), &labels)?;
        let look = kind.decoder.look();
        let sampler = Sampler::new(Sampling {
            width: kind.size.0,
            height: kind.size.1,
            layout: kind.layout,
            filter: Filter::Area,
            scale: look.scale,
            offset: look.offset,
        });
        let outputs = session.outputs().map(|output| output.name().to_owned()).collect();
        let mut model =
            Self { session, kind, look, labels, outputs, sampler, tensor: Vec::new(), warm_ns: 0, unproven: PROOFS };
        let began = resources.clock.now();
        model.bare()?;
        model.warm_ns = resources.clock.now() - began;
        Ok(model)
    }

    /// What it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What its classes are called.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Where it runs: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.session.device()
    }

    /// Nanoseconds that a run took once it was warm.
    pub fn warm_ns(&self) -> i64 {
        self.warm_ns
    }

    /// True where the picture is squeezed into the input.
    pub fn squeezes(&self) -> bool {
        self.look.beside.is_none()
    }

    /// The model alone, on what its buffer holds: what a look is measured against.
    ///
    /// # Errors
    /// When the run fails.
    pub fn bare(&mut self) -> Result<()> {
        self.tensor.resize(self.sampler.len(), 0.0);
        self.session.run(&[(&shape(self.kind.layout, self.kind.size, 1), &self.tensor)]).map(drop)
    }

    /// What is seen in some parts of a frame, `batch` of them a run at most.
    ///
    /// # Errors
    /// When the frame cannot be sampled, a run fails, or gives another shape than before.
    pub fn look(&mut self, frame: &Frame, views: &[View], batch: usize, wanted: &Wanted) -> Result<Vec<Piece>> {
        let picture = (frame.width() as f32, frame.height() as f32);
        // TensorRT builds an engine for each number of pictures.
        let batch = if self.kind.several && self.session.device() != "tensorrt" { batch.max(1) } else { 1 };
        let mut pieces = Vec::new();
        for (chunk, views) in views.chunks(batch).enumerate() {
            let len = self.sampler.len();
            self.tensor.resize(len * views.len(), 0.0);
            for (view, into) in views.iter().zip(self.tensor.chunks_exact_mut(len)) {
                self.sampler.sample(frame, &view.region, into)?;
                finish(into, &self.kind, &self.look, view, picture);
            }
            let given = self.session.run(&[(&shape(self.kind.layout, self.kind.size, views.len()), &self.tensor)])?;
            let tensors = self.outputs.iter().map(|name| {
                let (shape, values) = given.tensor(name)?;
                Ok(Output { name, shape, values })
            });
            let outputs = tensors.collect::<Result<Vec<_>>>()?;
            if self.unproven > 0 {
                self.unproven -= 1;
                let decoder = self.kind.decoder;
                if let Err(misfit) = decoder.plausible(&outputs, self.kind.size) {
                    drop(outputs);
                    drop(given);
                    return Err(implausible(&self.session, decoder, &misfit));
                }
            }
            for (i, view) in views.iter().enumerate() {
                let found = self.kind.decoder.decode(&outputs, i, self.kind.size, wanted).map_err(|misfit| {
                    let said: Vec<String> = outputs.iter().map(ToString::to_string).collect();
                    Error::model(format!(
                        "the model's outputs changed while it ran, they {misfit}: {}",
                        said.join(", ")
                    ))
                })?;
                let tile = chunk * batch + i;
                pieces.extend(found.iter().filter_map(|found| view.place(found, self.kind.size, tile, picture)));
            }
        }
        Ok(pieces)
    }
}

/// What the sampler leaves to do: what is beside the picture, and the order of colours.
fn finish(tensor: &mut [f32], kind: &Kind, look: &Look, view: &View, picture: (f32, f32)) {
    let (columns, rows) = kind.size;
    let plane = columns * rows;
    if let Some(beside) = look.beside.filter(|beside| *beside != 0.0) {
        let value: [f32; 3] = std::array::from_fn(|c| beside * look.scale[c] + look.offset[c]);
        let outside = |at: usize, count: usize, middle: f32, length: f32, most: f32| {
            let at = middle + ((at as f32 + 0.5) / count as f32 - 0.5) * length;
            at < 0.0 || at > most
        };
        let region = &view.region;
        for row in 0..rows {
            let above = outside(row, rows, region.y, region.height, picture.1);
            for column in 0..columns {
                if above || outside(column, columns, region.x, region.width, picture.0) {
                    for (c, value) in value.iter().enumerate() {
                        let at = row * columns + column;
                        let place = if kind.layout == Layout::Nchw { c * plane + at } else { at * 3 + c };
                        tensor[place] = *value;
                    }
                }
            }
        }
    }
    if look.bgr {
        match kind.layout {
            Layout::Nchw => {
                let (red, others) = tensor.split_at_mut(plane);
                red.swap_with_slice(&mut others[plane..]);
            }
            Layout::Nhwc => tensor.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use sideline_inference::Region;

    use super::*;

    #[test]
    fn what_is_beside_the_picture_is_grey_and_blue_comes_first() {
        let look = Decoder::Yolox.look();
        // A picture of 4 x 2 in the middle of an input of 4 x 4.
        let view = View {
            region: Region { x: 2.0, y: 1.0, width: 4.0, height: 4.0, rotation: 0.0 },
            seen: [0.0, 0.0, 4.0, 2.0],
        };
        let sampled: Vec<f32> = (0..48).map(|i| [10.0, 20.0, 30.0][i / 16]).collect();
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let kind = Kind { decoder: Decoder::Yolox, classes: 80, size: (4, 4), layout, several: false };
            let at = |tensor: &[f32], row: usize, c: usize| match layout {
                Layout::Nchw => tensor[c * 16 + row * 4],
                Layout::Nhwc => tensor[row * 12 + c],
            };
            let mut tensor = sampled.clone();
            if layout == Layout::Nhwc {
                tensor = (0..48).map(|i| [10.0, 20.0, 30.0][i % 3]).collect();
            }
            finish(&mut tensor, &kind, &look, &view, (4.0, 2.0));
            for c in 0..3 {
                assert_eq!((at(&tensor, 0, c), at(&tensor, 3, c)), (114.0, 114.0));
                assert_eq!(at(&tensor, 1, c), [30.0, 20.0, 10.0][c]);
            }
        }
    }
}
