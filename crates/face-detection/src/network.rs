//! The forward pass of the `CenterFace` network.
//!
//! The inference engine computes everything except for the depthwise convolutions, for which it has only a scalar loop: they would
//! take half of the processor time, for a fifteenth of the multiplications. So the network is run in stages, each up to the
//! input of the next depthwise convolution, which is computed here.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;

use rten::{Model, NodeId, RunError, RunOptions, ThreadPool, Value, ValueOrView, ValueView};

use crate::centerface::LoadError;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Names of a depthwise convolution in the model file: its input, its weights, its biases, and its output after the rectifier.
struct Names {
    input: &'static str,
    weights: &'static str,
    biases: &'static str,
    output: &'static str,
    stride: usize,
    /// Values from before it, other than its input, that later stages need.
    kept: &'static [&'static str],
}

const fn names(
    [input, weights, biases, output]: [&'static str; 4],
    stride: usize,
    kept: &'static [&'static str],
) -> Names {
    Names { input, weights, biases, output, stride, kept }
}

/// The depthwise convolutions, in order. All have 3 x 3 weights and a padding of one. Their names are those of the only file that
/// [`CenterFace::load`](crate::CenterFace::load) accepts.
const DEPTHWISE: [Names; 17] = [
    names(["365", "546", "548", "368"], 1, &[]),
    names(["373", "558", "560", "376"], 2, &[]),
    names(["381", "570", "572", "384"], 1, &["377"]),
    names(["390", "582", "584", "393"], 2, &["387"]),
    names(["398", "594", "596", "401"], 1, &["387", "394"]),
    names(["407", "606", "608", "410"], 1, &["387", "404"]),
    names(["416", "618", "620", "419"], 2, &["387", "413"]),
    names(["424", "630", "632", "427"], 1, &["387", "413", "420"]),
    names(["433", "642", "644", "436"], 1, &["387", "413", "430"]),
    names(["442", "654", "656", "445"], 1, &["387", "413", "439"]),
    names(["451", "666", "668", "454"], 1, &["387", "413"]),
    names(["459", "678", "680", "462"], 1, &["387", "413", "455"]),
    names(["468", "690", "692", "471"], 1, &["387", "413", "465"]),
    names(["477", "702", "704", "480"], 2, &["387", "413", "474"]),
    names(["485", "714", "716", "488"], 1, &["387", "413", "474", "481"]),
    names(["494", "726", "728", "497"], 1, &["387", "413", "474", "491"]),
    names(["503", "738", "740", "506"], 1, &["387", "413", "474"]),
];

/// The names of the outputs: heat, size, offset and landmarks.
const OUTPUTS: [&str; 4] = ["537", "538", "539", "540"];

/// The network, which several threads can run at the same time.
pub(super) struct Network {
    model: Model,
    stages: Vec<Stage>,
    outputs: [NodeId; 4],
    /// With a thread for each logical processor; the engine's own pool has one for each core.
    options: RunOptions,
}

/// A depthwise convolution, and what the engine computes before it.
struct Stage {
    input: NodeId,
    output: NodeId,
    kept: Vec<NodeId>,
    convolution: Depthwise,
}

impl Network {
    /// The network of a loaded model file.
    ///
    /// # Errors
    /// [`LoadError::Engine`], when the engine has none of the names above.
    pub(super) fn new(model: Model) -> Result<Self, LoadError> {
        let node = |name| model.node_id(name).map_err(engine);
        let constant = |name| -> Result<Vec<f32>, LoadError> {
            let [value] = model.run_n(Vec::new(), [node(name)?], None).map_err(engine)?;
            Ok(value.into_tensor::<f32>().ok_or_else(|| LoadError::Engine(name.into()))?.into_data())
        };
        let stages = DEPTHWISE.iter().map(|names| {
            let weights = constant(names.weights)?.as_chunks().0.to_vec();
            let convolution = Depthwise { weights, biases: constant(names.biases)?, stride: names.stride };
            let kept = names.kept.iter().copied().map(node).collect::<Result<_, _>>()?;
            Ok(Stage { input: node(names.input)?, output: node(names.output)?, kept, convolution })
        });
        let stages = stages.collect::<Result<_, LoadError>>()?;
        let [heat, size, offset, landmarks] = OUTPUTS.map(node);
        let outputs = [heat?, size?, offset?, landmarks?];
        let threads = ThreadPool::with_num_threads(available_parallelism().map_or(1, NonZero::get));
        let options = RunOptions::default().with_thread_pool(Some(Arc::new(threads)));
        Ok(Self { model, stages, outputs, options })
    }

    /// Heat, size, offset and landmarks of a picture, each channel row by row.
    ///
    /// `picture` has red, green and blue planes of `height` x `width`, both multiples of 32.
    pub(super) fn run(&self, picture: &[f32], height: usize, width: usize) -> Result<[Vec<f32>; 4], Error> {
        let mut values = Vec::new();
        let mut picture =
            Some((self.model.input_ids()[0], ValueView::from_shape([1, 3, height, width], picture)?.into()));
        for stage in &self.stages {
            let is_new = |id: &&NodeId| values.iter().all(|(known, _)| known != *id);
            let wanted: Vec<NodeId> =
                [&stage.input].into_iter().chain(stage.kept.iter().filter(is_new)).copied().collect();
            let known = values.iter().map(|(id, value): &(NodeId, Value)| (*id, ValueOrView::View(value.as_view())));
            let computed =
                self.model.run(known.chain(picture.take()).collect(), &wanted, Some(self.options.clone()))?;
            values.extend(wanted.into_iter().zip(computed));
            let input = values.iter().position(|(id, _)| *id == stage.input).map(|at| values.swap_remove(at).1);
            let ([_, _, height, width], input) = input.ok_or("no input")?.into_shape_vec::<f32, 4>()?;
            values.retain(|(id, _)| stage.kept.contains(id));
            values.push((stage.output, stage.convolution.run(&input, height, width)?));
        }
        self.outputs_from(values.into_iter().map(|(id, value)| (id, value.into())).collect())
    }

    /// Runs the engine from these values to the outputs.
    fn outputs_from(&self, values: Vec<(NodeId, ValueOrView)>) -> Result<[Vec<f32>; 4], Error> {
        let outputs = self.model.run_n(values, self.outputs, Some(self.options.clone()))?;
        let [heat, size, offset, landmarks] = outputs.map(|output| output.into_shape_vec::<f32, 4>());
        Ok([heat?.1, size?.1, offset?.1, landmarks?.1])
    }

    /// The same outputs, computed by the engine alone.
    #[cfg(test)]
    pub(super) fn run_by_engine(&self, picture: &[f32], height: usize, width: usize) -> Result<[Vec<f32>; 4], Error> {
        let picture = ValueView::from_shape([1, 3, height, width], picture)?;
        self.outputs_from(vec![(self.model.input_ids()[0], picture.into())])
    }
}

fn engine(error: RunError) -> LoadError {
    LoadError::Engine(error.into())
}

/// A convolution of each channel with its own 3 x 3 weights, a padding of one, and then the rectifier.
struct Depthwise {
    weights: Vec<[f32; 9]>,
    biases: Vec<f32>,
    /// 1 or 2.
    stride: usize,
}

impl Depthwise {
    /// The convolution of all channels of `height` x `width`, which are even if the stride is 2.
    fn run(&self, input: &[f32], height: usize, width: usize) -> Result<Value, Error> {
        let (rows, columns) = (height / self.stride, width / self.stride);
        let mut output = Vec::with_capacity(self.biases.len() * rows * columns);
        let padded_width = width + 2;
        // The plane with its padding, so that the loops below have no special cases.
        let mut padded = vec![0.0; (height + 2) * padded_width];
        for ((plane, weights), bias) in input.chunks_exact(height * width).zip(&self.weights).zip(&self.biases) {
            for (row, padded) in plane.chunks_exact(width).zip(padded.chunks_exact_mut(padded_width).skip(1)) {
                padded[1..=width].copy_from_slice(row);
            }
            for row in 0..rows {
                let at = output.len();
                output.resize(at + columns, *bias);
                let output = &mut output[at..];
                for (near, weights) in padded[row * self.stride * padded_width..]
                    .chunks_exact(padded_width)
                    .zip(weights.as_chunks::<3>().0)
                {
                    add(output, near, *weights, self.stride);
                }
                for sum in output {
                    *sum = sum.max(0.0);
                }
            }
        }
        Ok(Value::from_shape([1, self.biases.len(), rows, columns], output)?)
    }
}

/// Adds the products of a padded row to `sums`. The loops are written so that the compiler uses vector instructions.
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
    fn a_depthwise_convolution_is_the_sum_over_the_neighbours() {
        let (height, width, channels) = (4, 6, 2);
        let input: Vec<f32> = (0..channels * height * width).map(|at| number(7 * at, 11)).collect();
        let weights: Vec<[f32; 9]> =
            (0..channels).map(|channel| std::array::from_fn(|at| number(at + channel, 5))).collect();
        let biases = vec![0.5, -1.5];
        for stride in [1, 2] {
            let convolution = Depthwise { weights: weights.clone(), biases: biases.clone(), stride };
            let output = convolution.run(&input, height, width).unwrap();
            let ([_, _, rows, columns], output) = output.into_shape_vec::<f32, 4>().unwrap();
            assert_eq!((rows, columns), (height / stride, width / stride));
            for (at, found) in output.iter().enumerate() {
                let (channel, row, column) = (at / (rows * columns), at / columns % rows, at % columns);
                let mut sum = biases[channel];
                for (tap, weight) in weights[channel].iter().enumerate() {
                    let (y, x) = (row * stride + tap / 3, column * stride + tap % 3);
                    if (1..=height).contains(&y) && (1..=width).contains(&x) {
                        sum += weight * input[(channel * height + y - 1) * width + x - 1];
                    }
                }
                assert!((found - sum.max(0.0)).abs() < 1e-4, "stride {stride}, {at}: {found} is not {sum}");
            }
        }
    }
}
