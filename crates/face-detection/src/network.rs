//! The forward pass of the `CenterFace` network.
//!
//! The inference engine writes all intermediate values to memory, and has only a scalar loop for depthwise convolutions. So the backbone,
//! which is nearly all of the network, is computed here, with the engine's matrix multiplication: a band of rows at a time, whose
//! intermediate values stay in the processor's cache. The engine computes the first convolution, and what follows the backbone.
//!
//! Each picture is computed by one thread. Several threads compute different pictures.

use std::ops::Range;
use std::sync::Arc;

use rten::{Model, NodeId, RunError, RunOptions, ThreadPool, ValueOrView, ValueView};
use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedAMatrix};
use rten_simd::{Isa, SimdOp};
use rten_tensor::NdTensorView;
use rten_tensor::prelude::*;

use crate::centerface::LoadError;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The strides of the blocks of the backbone, which is [`MobileNetV2`](https://arxiv.org/abs/1801.04381).
const STRIDES: [usize; 17] = [1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1];
/// In the model file, the weights of the convolutions up to the end of the backbone have a number as their name: this one, and every fourth
/// after it. The biases have the number after the next. They are the names in the only file that
/// [`CenterFace::load`](crate::CenterFace::load) accepts.
const FIRST_WEIGHTS: usize = 542;
/// The name of the input of the backbone: the output of the first convolution, before its rectifier.
const FIRST_OUTPUT: &str = "363";
/// The blocks whose outputs the rest of the network needs, and the names of these.
const FEATURES: [(usize, &str); 4] = [(2, "387"), (5, "413"), (12, "474"), (16, "507")];
/// The names of the outputs: heat, size, offset and landmarks.
const OUTPUTS: [&str; 4] = ["537", "538", "539", "540"];
/// The number of expanded values in a band: 512 kB, which fit into the second cache of most processors.
const BAND_VALUES: usize = 128 * 1024;

/// The network, which several threads can run at the same time.
pub(super) struct Network {
    model: Model,
    first_output: NodeId,
    blocks: Vec<Block>,
    features: [NodeId; 4],
    outputs: [NodeId; 4],
}

/// What each thread needs to run the network: the engine and its matrix multiplication use all threads of a pool, and this pool has one.
pub(super) struct Worker(Arc<ThreadPool>);

impl Worker {
    pub(super) fn new() -> Self {
        Self(Arc::new(ThreadPool::with_num_threads(1)))
    }

    fn options(&self) -> RunOptions {
        RunOptions::default().with_thread_pool(Some(Arc::clone(&self.0)))
    }
}

impl Network {
    /// The network of a loaded model file.
    ///
    /// # Errors
    /// [`LoadError::Engine`], when the engine has none of the names above.
    pub(super) fn new(model: Model) -> Result<Self, LoadError> {
        let node = |name: &str| model.node_id(name).map_err(engine);
        let constant = |number: usize| -> Result<Vec<f32>, LoadError> {
            let [value] = model.run_n(Vec::new(), [node(&number.to_string())?], None).map_err(engine)?;
            Ok(value.into_tensor::<f32>().ok_or_else(|| LoadError::Engine("weights are missing".into()))?.into_data())
        };
        let multiplication = GemmExecutor::new();
        let pointwise = |number| -> Result<Pointwise, LoadError> {
            let (weights, biases) = (constant(number)?, constant(number + 2)?);
            let matrix = NdTensorView::from_data([biases.len(), weights.len() / biases.len()], &weights[..]);
            Ok(Pointwise { weights: multiplication.prepack_a(matrix), biases })
        };
        let depthwise = |number, stride| -> Result<Depthwise, LoadError> {
            Ok(Depthwise { weights: constant(number)?.as_chunks().0.to_vec(), biases: constant(number + 2)?, stride })
        };
        let blocks = (FIRST_WEIGHTS..).step_by(12).zip(STRIDES).map(|(number, stride)| {
            // The first block follows the first convolution, and has no expansion.
            let expansion = (number != FIRST_WEIGHTS).then(|| pointwise(number)).transpose()?;
            Ok(Block { expansion, depthwise: depthwise(number + 4, stride)?, projection: pointwise(number + 8)? })
        });
        let blocks = blocks.collect::<Result<_, LoadError>>()?;
        let [quarter, eighth, sixteenth, last] = FEATURES.map(|(_, name)| node(name));
        let features = [quarter?, eighth?, sixteenth?, last?];
        let [heat, size, offset, landmarks] = OUTPUTS.map(node);
        let outputs = [heat?, size?, offset?, landmarks?];
        let first_output = node(FIRST_OUTPUT)?;
        Ok(Self { model, first_output, blocks, features, outputs })
    }

    /// Heat, size, offset and landmarks of a picture, each channel row by row.
    ///
    /// `picture` has red, green and blue planes of `height` x `width`, both multiples of 32.
    pub(super) fn run(
        &self,
        worker: &Worker,
        picture: &[f32],
        height: usize,
        width: usize,
    ) -> Result<[Vec<f32>; 4], Error> {
        let picture = self.input(picture, height, width)?;
        let [input] = self.model.run_n(vec![picture], [self.first_output], Some(worker.options()))?;
        let ([_, channels, height, width], values) = input.into_shape_vec()?;
        let features = worker.0.run(|| self.backbone(Planes { channels, height, width, values }))?;
        let mut values = Vec::new();
        for (id, planes) in self.features.iter().zip(&features) {
            let shape = [1, planes.channels, planes.height, planes.width];
            values.push((*id, ValueView::from_shape(shape, &planes.values[..])?.into()));
        }
        self.outputs_from(values, worker)
    }

    /// The outputs of the blocks of [`FEATURES`].
    fn backbone(&self, mut planes: Planes) -> Result<Vec<Planes>, Error> {
        // Not a part of the worker, because it cannot be sent to the pool's thread.
        let multiplication = GemmExecutor::new();
        let mut band = Band::default();
        let mut features = Vec::new();
        for (number, block) in self.blocks.iter().enumerate() {
            planes = block.run(&planes, &multiplication, &mut band)?;
            if FEATURES.iter().any(|(feature, _)| *feature == number) {
                features.push(planes.clone());
            }
        }
        Ok(features)
    }

    fn input<'a>(&self, picture: &'a [f32], height: usize, width: usize) -> Result<(NodeId, ValueOrView<'a>), Error> {
        let picture = ValueView::from_shape([1, 3, height, width], picture)?;
        Ok((self.model.input_ids()[0], picture.into()))
    }

    /// Runs the engine from these values to the outputs.
    fn outputs_from(&self, values: Vec<(NodeId, ValueOrView)>, worker: &Worker) -> Result<[Vec<f32>; 4], Error> {
        let outputs = self.model.run_n(values, self.outputs, Some(worker.options()))?;
        let [heat, size, offset, landmarks] = outputs.map(|output| output.into_shape_vec::<f32, 4>());
        Ok([heat?.1, size?.1, offset?.1, landmarks?.1])
    }

    /// The same outputs, computed by the engine alone.
    #[cfg(test)]
    pub(super) fn run_by_engine(&self, picture: &[f32], height: usize, width: usize) -> Result<[Vec<f32>; 4], Error> {
        self.outputs_from(vec![self.input(picture, height, width)?], &Worker::new())
    }
}

fn engine(error: RunError) -> LoadError {
    LoadError::Engine(error.into())
}

/// The values of a picture: channel by channel, each row by row.
#[derive(Clone)]
struct Planes {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

/// The intermediate values of a band of rows, in memory that all bands use.
#[derive(Default)]
struct Band {
    expanded: Vec<f32>,
    padded: Vec<f32>,
    filtered: Vec<f32>,
    projected: Vec<f32>,
}

/// An inverted residual block: it expands its input to many channels, filters each of them, and projects them to few channels. If the
/// output has the shape of the input, the input is added.
struct Block {
    expansion: Option<Pointwise>,
    depthwise: Depthwise,
    projection: Pointwise,
}

impl Block {
    /// The output for an input whose height and width are even, if the stride is 2.
    fn run(&self, input: &Planes, multiplication: &GemmExecutor, band: &mut Band) -> Result<Planes, Error> {
        let stride = self.depthwise.stride;
        let (channels, height, width) = (self.projection.biases.len(), input.height / stride, input.width / stride);
        let is_added = channels == input.channels && stride == 1;
        let mut values = vec![0.0; channels * height * width];
        let rows_of_input = BAND_VALUES / (self.depthwise.biases.len() * input.width);
        let rows_of_band = (rows_of_input.saturating_sub(2) / stride).max(1);
        for first in (0..height).step_by(rows_of_band) {
            let rows = first..height.min(first + rows_of_band);
            self.run_band(input, rows.clone(), multiplication, band)?;
            for (channel, projected) in band.projected.chunks_exact(rows.len() * width).enumerate() {
                let at = (channel * height + rows.start) * width..(channel * height + rows.end) * width;
                values[at.clone()].copy_from_slice(projected);
                if is_added {
                    for (sum, value) in values[at.clone()].iter_mut().zip(&input.values[at]) {
                        *sum += value;
                    }
                }
            }
        }
        Ok(Planes { channels, height, width, values })
    }

    /// Computes `rows` of the output into `band.projected`, without the addition of the input.
    fn run_band(
        &self,
        input: &Planes,
        rows: Range<usize>,
        multiplication: &GemmExecutor,
        band: &mut Band,
    ) -> Result<(), Error> {
        let stride = self.depthwise.stride;
        let seen = (rows.start * stride).saturating_sub(1)..input.height.min((rows.end - 1) * stride + 2);
        let plane = input.height * input.width;
        let below = &input.values[seen.start * input.width..];
        let (values, plane) = match &self.expansion {
            None => (below, plane),
            Some(expansion) => {
                let shape = [input.channels, seen.len() * input.width];
                let matrix = NdTensorView::from_data_with_strides(shape, below, [plane, 1])?;
                expansion.run(matrix, multiplication, &mut band.expanded)?;
                (&band.expanded[..], shape[1])
            }
        };
        let source = Source { values, plane, rows: seen.len(), width: input.width };
        let Band { padded, filtered, .. } = band;
        Filter { depthwise: &self.depthwise, source, rows: rows.clone(), padded, filtered }.dispatch();
        let matrix = [self.depthwise.biases.len(), rows.len() * input.width / stride];
        self.projection.run(NdTensorView::from_data(matrix, &filtered[..]), multiplication, &mut band.projected)
    }
}

/// A convolution with 1 x 1 weights, which is a multiplication of matrices.
struct Pointwise {
    weights: PackedAMatrix<f32>,
    biases: Vec<f32>,
}

impl Pointwise {
    /// Computes the output of `input`, which has a row for each channel.
    fn run(
        &self,
        input: NdTensorView<f32, 2>,
        multiplication: &GemmExecutor,
        output: &mut Vec<f32>,
    ) -> Result<(), Error> {
        output.resize(self.biases.len() * input.size(1), 0.0);
        let options = GemmOptions { bias: Some(BiasVector::Column(&self.biases)), ..GemmOptions::default() };
        let (weights, input) = (GemmInputA::Packed(&self.weights), GemmInputB::Unpacked(input));
        Ok(multiplication.gemm(output, weights, input, options)?)
    }
}

/// A convolution of each channel with its own 3 x 3 weights and a padding of one, between two rectifiers.
struct Depthwise {
    weights: Vec<[f32; 9]>,
    biases: Vec<f32>,
    /// 1 or 2.
    stride: usize,
}

/// Some rows of every channel.
struct Source<'a> {
    values: &'a [f32],
    /// The number of values from one channel to the next.
    plane: usize,
    rows: usize,
    width: usize,
}

/// A depthwise convolution that computes `rows` of the output into `filtered`. The compiler makes one version for each set of vector
/// instructions.
struct Filter<'a> {
    depthwise: &'a Depthwise,
    /// The rows that contribute to `rows`.
    source: Source<'a>,
    rows: Range<usize>,
    /// One channel with its padding, so that the loops have no special cases.
    padded: &'a mut Vec<f32>,
    filtered: &'a mut Vec<f32>,
}

impl SimdOp for Filter<'_> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "only what is inlined is compiled for the instruction set")]
    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let Self { depthwise: Depthwise { weights, biases, stride }, source, rows, padded, filtered } = self;
        let columns = source.width / stride;
        let padded_width = source.width + 2;
        padded.clear();
        padded.resize((rows.len() * stride + 2) * padded_width, 0.0);
        filtered.resize(biases.len() * rows.len() * columns, 0.0);
        // Above the first row is a row of padding.
        let above = usize::from(rows.start == 0);
        let channels = source.values.chunks(source.plane).zip(weights).zip(biases);
        for (((plane, weights), bias), filtered) in channels.zip(filtered.chunks_exact_mut(rows.len() * columns)) {
            let plane = plane[..source.rows * source.width].chunks_exact(source.width);
            for (row, padded) in plane.zip(padded.chunks_exact_mut(padded_width).skip(above)) {
                for (padded, value) in padded[1..=source.width].iter_mut().zip(row) {
                    *padded = value.max(0.0);
                }
            }
            for (row, sums) in filtered.chunks_exact_mut(columns).enumerate() {
                sums.fill(*bias);
                let near = padded[row * stride * padded_width..].chunks_exact(padded_width);
                for (near, weights) in near.zip(weights.as_chunks::<3>().0) {
                    add(sums, near, *weights, *stride);
                }
                for sum in sums {
                    *sum = sum.max(0.0);
                }
            }
        }
    }
}

/// Adds the products of a padded row to `sums`. The loops are written so that the compiler uses vector instructions.
#[expect(clippy::inline_always, reason = "only what is inlined is compiled for the instruction set")]
#[inline(always)]
fn add(sums: &mut [f32], row: &[f32], [left, middle, right]: [f32; 3], stride: usize) {
    if stride == 1 {
        for (((sum, a), b), c) in sums.iter_mut().zip(row).zip(&row[1..]).zip(&row[2..]) {
            *sum += left * a + middle * b + right * c;
        }
    } else {
        let (pairs, _) = row.as_chunks::<2>();
        for ((sum, [a, b]), [c, _]) in sums.iter_mut().zip(pairs).zip(&pairs[1..]) {
            *sum += left * a + middle * b + right * c;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    fn number(at: usize, modulus: usize) -> f32 {
        (at % modulus) as f32 - 2.0
    }

    #[test]
    fn bands_of_a_block_are_the_sums_over_the_neighbours() {
        let (height, width, channels) = (4, 6, 2);
        let input: Vec<f32> = (0..channels * height * width).map(|at| number(7 * at, 11)).collect();
        let input = Planes { channels, height, width, values: input };
        let weights: Vec<[f32; 9]> =
            (0..channels).map(|channel| std::array::from_fn(|at| number(at + channel, 5))).collect();
        let biases = vec![0.5, -1.5];
        for (stride, rows_of_band) in [(1, 1), (1, 3), (1, 4), (2, 1), (2, 2)] {
            let depthwise = Depthwise { weights: weights.clone(), biases: biases.clone(), stride };
            let block = block_of(depthwise);
            let mut band = Band::default();
            let columns = width / stride;
            for first in (0..height / stride).step_by(rows_of_band) {
                let rows = first..(height / stride).min(first + rows_of_band);
                block.run_band(&input, rows.clone(), &GemmExecutor::new(), &mut band).unwrap();
                for (at, found) in band.projected.iter().enumerate() {
                    let (channel, column) = (at / (rows.len() * columns), at % columns);
                    let row = rows.start + at / columns % rows.len();
                    let mut sum = biases[channel];
                    for (tap, weight) in weights[channel].iter().enumerate() {
                        let (y, x) = (row * stride + tap / 3, column * stride + tap % 3);
                        if (1..=height).contains(&y) && (1..=width).contains(&x) {
                            sum += weight * input.values[(channel * height + y - 1) * width + x - 1].max(0.0);
                        }
                    }
                    let expected = sum.max(0.0);
                    assert!(
                        (found - expected).abs() < 1e-4,
                        "stride {stride}, {rows:?}, {at}: {found} is not {expected}"
                    );
                }
            }
        }
    }

    /// A block that neither expands nor projects.
    fn block_of(depthwise: Depthwise) -> Block {
        let identity = NdTensorView::from_data([2, 2], &[1.0, 0.0, 0.0, 1.0][..]);
        let projection = Pointwise { weights: GemmExecutor::new().prepack_a(identity), biases: vec![0.0; 2] };
        Block { expansion: None, depthwise, projection }
    }
}
