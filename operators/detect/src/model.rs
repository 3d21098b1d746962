//! A loaded detector: the model, its preprocessing, its decoder and its class names.

use sideline_api::{Error, Frame, Resources, Result, models::user_model_path};
use sideline_inference::{Filter, Layout, Sampler, Session, TensorSpec};

use crate::{
    config::DetectConfig,
    decode::{BUILTIN_NMS_HINT, DecodeFilter, Decoder, OutputTensor, Preprocessing, has_builtin_nms, image_input},
    labels,
    tiles::{TileBox, TileView},
};

/// Properties of a detector, determined from its model file.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorSpec {
    /// Decoder of its outputs.
    pub decoder: Decoder,
    /// Number of classes.
    pub class_count: usize,
    /// Width and height of its input, px.
    pub input_size: (usize, usize),
    /// Memory layout of its input.
    pub layout: Layout,
    /// The model accepts batches of any size.
    pub has_dynamic_batch: bool,
}

impl DetectorSpec {
    /// Inspects the model's input and runs it once on a black image, so that the shapes of its outputs are known even
    /// where the file leaves them open, and so that their values can be checked against the decoder. `wanted` is a
    /// preset decoder; `open_size` is the width and height where the file leaves them open.
    ///
    /// # Errors
    /// The model is no detector, or does not fit the decoder: the error lists the shapes found and the decoder that
    /// fits, or the deviation of the values.
    pub fn probe(session: &mut Session, wanted: Option<Decoder>, open_size: usize) -> Result<Self> {
        let (has_dynamic_batch, layout, input_size) = inspect_input(session, open_size)?;
        let copies = run_on_black(session, layout, input_size)?;
        let outputs: Vec<OutputTensor> = copies.iter().map(OutputCopy::as_tensor).collect();
        let found: Vec<String> = outputs.iter().map(ToString::to_string).collect();
        let found = found.join(", ");
        let fitting: Vec<Decoder> =
            Decoder::ALL.into_iter().filter(|decoder| decoder.class_count(&outputs, input_size).is_ok()).collect();
        let decoder = match (wanted, &fitting[..]) {
            (Some(decoder), _) => decoder,
            (None, [decoder]) => *decoder,
            (None, []) => {
                let all: Vec<String> = Decoder::ALL
                    .iter()
                    .map(|decoder| format!("{}: {}", decoder.name(), decoder.expected_outputs()))
                    .collect();
                // The most frequent unsuitable export has a specific repair.
                let shapes: Vec<&[i64]> = outputs.iter().map(|output| output.shape).collect();
                let hint = if has_builtin_nms(&shapes) { format!(". They {BUILTIN_NMS_HINT}") } else { String::new() };
                return Err(session.mismatch(format!(
                    "no decoder fits its outputs {found}{hint}. The decoders expect {}",
                    all.join("; ")
                )));
            }
            (None, _) => {
                let names: Vec<&str> = fitting.iter().map(|decoder| decoder.name()).collect();
                return Err(session.mismatch(format!(
                    "its outputs {found} fit several decoders: set the decoder to {}",
                    names.join(" or ")
                )));
            }
        };
        let class_count = decoder.class_count(&outputs, input_size).map_err(|mismatch| {
            let repair = match &fitting[..] {
                [] => "no other decoder fits either".to_owned(),
                others => format!(
                    "set the decoder to {}",
                    others.iter().map(|decoder| decoder.name()).collect::<Vec<_>>().join(" or ")
                ),
            };
            session.mismatch(format!(
                "the decoder {} expects {}, but its outputs {mismatch}: {found}; {repair}",
                decoder.name(),
                decoder.expected_outputs()
            ))
        })?;
        if class_count == 0 || class_count > usize::from(u16::MAX) {
            return Err(session.mismatch(format!("its outputs {found} contain {class_count} classes")));
        }
        decoder.check_values(&outputs, input_size).map_err(|mismatch| value_mismatch(session, decoder, &mismatch))?;
        Ok(Self { decoder, class_count, input_size, layout, has_dynamic_batch })
    }
}

impl DetectorSpec {
    /// Checks that the number of names equals the number of classes.
    ///
    /// # Errors
    /// There are more or fewer names than classes.
    pub fn check_labels(&self, model: &str, labels: &[String]) -> Result<()> {
        if labels.len() == self.class_count {
            return Ok(());
        }
        Err(Error::config(format!(
            "model `{model}` has {} classes, but there are {} names: `{}` is the first, `{}` the last",
            self.class_count,
            labels.len(),
            labels.first().map_or("", String::as_str),
            labels.last().map_or("", String::as_str)
        )))
    }
}

/// An output copied from a run.
struct OutputCopy {
    name: String,
    shape: Vec<i64>,
    values: Vec<f32>,
}

impl OutputCopy {
    fn as_tensor(&self) -> OutputTensor<'_> {
        OutputTensor { name: &self.name, shape: &self.shape, values: &self.values }
    }
}

/// Runs the model on a black image and returns its outputs.
fn run_on_black(session: &mut Session, layout: Layout, size: (usize, usize)) -> Result<Vec<OutputCopy>> {
    let names: Vec<String> = session.outputs().map(|output| output.name().to_owned()).collect();
    if names.is_empty() {
        return Err(session.mismatch("it has no output"));
    }
    let black = vec![0.0; size.0 * size.1 * 3];
    let run_outputs = session.run(&[(&tensor_shape(layout, size, 1), &black)])?;
    let read = |name: String| {
        let (shape, values) = run_outputs.tensor(&name)?;
        let (shape, values) = (shape.to_vec(), values.to_vec());
        Ok(OutputCopy { name, shape, values })
    };
    names.into_iter().map(read).collect()
}

/// Creates the error of a model whose outputs have the decoder's shapes but another meaning.
fn value_mismatch(session: &Session, decoder: Decoder, mismatch: &str) -> Error {
    session.mismatch(format!(
        "its outputs have the shapes of the decoder {}, but they {mismatch}. Set another decoder with \
         `decoder` (`models add`: `--decoder`)",
        decoder.name()
    ))
}

/// Inspects the input: support of dynamic batches, layout, width and height.
fn inspect_input(session: &Session, open_size: usize) -> Result<(bool, Layout, (usize, usize))> {
    let inputs: Vec<_> = session.inputs().collect();
    let refusal = || {
        let inputs: Vec<String> = inputs.iter().map(ToString::to_string).collect();
        session.mismatch(format!(
            "expected one image as input, f32 [N, 3, rows, columns] or [N, rows, columns, 3], found {} (export a \
             half-precision model in full precision)",
            inputs.join(", ")
        ))
    };
    let [tensor] = &inputs[..] else { return Err(refusal()) };
    let shape = tensor.shape().ok_or_else(refusal)?;
    let (layout, columns, rows) = image_input(shape).ok_or_else(refusal)?;
    let count = shape[0];
    if count != 1 && count != -1 {
        return Err(session.mismatch(format!(
            "it has a fixed batch size of {count}; export it with a batch size of 1, or a dynamic one"
        )));
    }
    let length = |length: i64| if length > 0 { length as usize } else { open_size };
    Ok((count == -1, layout, (length(columns), length(rows))))
}

fn tensor_shape(layout: Layout, (columns, rows): (usize, usize), count: usize) -> [i64; 4] {
    match layout {
        Layout::Nchw => [count as i64, 3, rows as i64, columns as i64],
        Layout::Nhwc => [count as i64, rows as i64, columns as i64, 3],
    }
}

/// A detector with its buffers.
pub struct Model {
    session: Session,
    spec: DetectorSpec,
    preprocessing: Preprocessing,
    labels: Vec<String>,
    outputs: Vec<String>,
    sampler: Sampler,
    tensor: Vec<f32>,
    warm_ns: i64,
    /// Remaining runs with a check of the values: real frames may show a deviation that a black image does not.
    pending_checks: u32,
}

/// Number of runs on real frames with a check of the values.
const CHECKED_RUNS: u32 = 3;

impl Model {
    /// Loads the model that a configuration names, checks it and warms it up.
    ///
    /// # Errors
    /// The model is missing, changed or broken, its outputs do not fit its decoder, or its classes have no names.
    pub fn load(config: &DetectConfig, resources: &Resources) -> Result<Self> {
        let mut session = Session::load(resources, &config.model)?;
        let entry = match user_model_path(&config.model) {
            Some(_) => None,
            None => Some(resources.models.find_installed(&config.model)?.1),
        };
        let named = entry.and_then(|entry| Decoder::from_name(&entry.decoder));
        let spec = DetectorSpec::probe(&mut session, config.decoder.decoder().or(named), config.size as usize)?;
        let entry_labels = || entry.map(|entry| labels::resolve(&entry.labels)).filter(|labels| !labels.is_empty());
        let labels = match labels::from_key(&config.labels, resources)?.or_else(entry_labels) {
            Some(labels) => labels,
            None => labels::from_model(&session)?.ok_or_else(|| {
                Error::config(format!(
                    "model `{}` has no names for its {} classes: set `labels` to a file with one name per line, or to \
                     `coco` for COCO's 80 classes, or `coco91` for the numbering of its categories",
                    session.name(),
                    spec.class_count
                ))
            })?,
        };
        spec.check_labels(session.name(), &labels)?;
        let preprocessing = spec.decoder.preprocessing();
        let sampler = Sampler::new(TensorSpec {
            width: spec.input_size.0,
            height: spec.input_size.1,
            layout: spec.layout,
            filter: Filter::Area,
            scale: preprocessing.scale,
            offset: preprocessing.offset,
        });
        let outputs = session.outputs().map(|output| output.name().to_owned()).collect();
        let mut model = Self {
            session,
            spec,
            preprocessing,
            labels,
            outputs,
            sampler,
            tensor: Vec::new(),
            warm_ns: 0,
            pending_checks: CHECKED_RUNS,
        };
        let start = resources.clock.now();
        model.run_model()?;
        model.warm_ns = resources.clock.now() - start;
        Ok(model)
    }

    /// Returns the properties of the detector.
    pub fn spec(&self) -> &DetectorSpec {
        &self.spec
    }

    /// Returns the class names.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Returns the device: `cpu`, `cuda` or `tensorrt`.
    pub fn device(&self) -> &'static str {
        self.session.device()
    }

    /// Returns the duration of one warm run, ns.
    pub fn warm_ns(&self) -> i64 {
        self.warm_ns
    }

    /// Returns true where the image is stretched to the input, not letterboxed.
    pub fn stretches(&self) -> bool {
        self.preprocessing.padding.is_none()
    }

    /// Runs the model alone on the content of its buffer, as a reference for the cost of detection.
    ///
    /// # Errors
    /// The run fails.
    pub fn run_model(&mut self) -> Result<()> {
        self.tensor.resize(self.sampler.len(), 0.0);
        self.session.run(&[(&tensor_shape(self.spec.layout, self.spec.input_size, 1), &self.tensor)]).map(drop)
    }

    /// Detects objects in parts of a frame, at most `batch` of them per run.
    ///
    /// # Errors
    /// The frame cannot be sampled, a run fails, or the outputs have another shape than before.
    pub fn detect(
        &mut self,
        frame: &Frame,
        views: &[TileView],
        batch: usize,
        filter: &DecodeFilter,
    ) -> Result<Vec<TileBox>> {
        let frame_size = (frame.width() as f32, frame.height() as f32);
        // TensorRT builds an engine for each batch size.
        let batch = if self.spec.has_dynamic_batch && self.session.device() != "tensorrt" { batch.max(1) } else { 1 };
        let mut boxes = Vec::new();
        for (chunk, views) in views.chunks(batch).enumerate() {
            let len = self.sampler.len();
            self.tensor.resize(len * views.len(), 0.0);
            for (view, into) in views.iter().zip(self.tensor.chunks_exact_mut(len)) {
                self.sampler.sample(frame, &view.region, into)?;
                finish_preprocessing(into, &self.spec, &self.preprocessing, view, frame_size);
            }
            let run_outputs = self
                .session
                .run(&[(&tensor_shape(self.spec.layout, self.spec.input_size, views.len()), &self.tensor)])?;
            let tensors = self.outputs.iter().map(|name| {
                let (shape, values) = run_outputs.tensor(name)?;
                Ok(OutputTensor { name, shape, values })
            });
            let outputs = tensors.collect::<Result<Vec<_>>>()?;
            if self.pending_checks > 0 {
                self.pending_checks -= 1;
                let decoder = self.spec.decoder;
                if let Err(mismatch) = decoder.check_values(&outputs, self.spec.input_size) {
                    drop(outputs);
                    drop(run_outputs);
                    return Err(value_mismatch(&self.session, decoder, &mismatch));
                }
            }
            for (i, view) in views.iter().enumerate() {
                let decoded =
                    self.spec.decoder.decode(&outputs, i, self.spec.input_size, filter).map_err(|mismatch| {
                        let found: Vec<String> = outputs.iter().map(ToString::to_string).collect();
                        Error::model(format!(
                            "the shapes of the model's outputs changed during the run, they {mismatch}: {}",
                            found.join(", ")
                        ))
                    })?;
                let tile = chunk * batch + i;
                boxes.extend(
                    decoded
                        .iter()
                        .filter_map(|decoded| view.map_to_frame(decoded, self.spec.input_size, tile, frame_size)),
                );
            }
        }
        Ok(boxes)
    }
}

/// Completes the preprocessing after the sampler: padding outside the frame, and channel order.
fn finish_preprocessing(
    tensor: &mut [f32],
    spec: &DetectorSpec,
    preprocessing: &Preprocessing,
    view: &TileView,
    frame_size: (f32, f32),
) {
    let (columns, rows) = spec.input_size;
    let plane = columns * rows;
    if let Some(padding) = preprocessing.padding.filter(|padding| *padding != 0.0) {
        let value: [f32; 3] = std::array::from_fn(|c| padding * preprocessing.scale[c] + preprocessing.offset[c]);
        let is_outside = |at: usize, count: usize, center: f32, length: f32, limit: f32| {
            let at = center + ((at as f32 + 0.5) / count as f32 - 0.5) * length;
            at < 0.0 || at > limit
        };
        let region = &view.region;
        for row in 0..rows {
            let is_row_outside = is_outside(row, rows, region.y, region.height, frame_size.1);
            for column in 0..columns {
                if is_row_outside || is_outside(column, columns, region.x, region.width, frame_size.0) {
                    for (c, value) in value.iter().enumerate() {
                        let at = row * columns + column;
                        let place = if spec.layout == Layout::Nchw { c * plane + at } else { at * 3 + c };
                        tensor[place] = *value;
                    }
                }
            }
        }
    }
    if preprocessing.is_bgr {
        match spec.layout {
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
    fn yolox_preprocessing_pads_with_gray_and_orders_channels_bgr() {
        let preprocessing = Decoder::Yolox.preprocessing();
        // A frame of 4 x 2 in the middle of an input of 4 x 4.
        let view = TileView {
            region: Region { x: 2.0, y: 1.0, width: 4.0, height: 4.0, rotation: 0.0 },
            visible: [0.0, 0.0, 4.0, 2.0],
        };
        let sampled: Vec<f32> = (0..48).map(|i| [10.0, 20.0, 30.0][i / 16]).collect();
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let spec = DetectorSpec {
                decoder: Decoder::Yolox,
                class_count: 80,
                input_size: (4, 4),
                layout,
                has_dynamic_batch: false,
            };
            let at = |tensor: &[f32], row: usize, c: usize| match layout {
                Layout::Nchw => tensor[c * 16 + row * 4],
                Layout::Nhwc => tensor[row * 12 + c],
            };
            let mut tensor = sampled.clone();
            if layout == Layout::Nhwc {
                tensor = (0..48).map(|i| [10.0, 20.0, 30.0][i % 3]).collect();
            }
            finish_preprocessing(&mut tensor, &spec, &preprocessing, &view, (4.0, 2.0));
            for c in 0..3 {
                assert_eq!((at(&tensor, 0, c), at(&tensor, 3, c)), (114.0, 114.0));
                assert_eq!(at(&tensor, 1, c), [30.0, 20.0, 10.0][c]);
            }
        }
    }
}
