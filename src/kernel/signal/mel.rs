//! MelWeightMatrix: triangles that gather the bins of a spectrum into bands of the mel scale.

use super::{length, output_type};
use crate::error::{Result, bail, ensure};
use crate::kernel::cast::cast;
use crate::kernel::{Context, Inputs, Kernel, OpSpec, Outputs, one};
use crate::tensor::ElementType;

struct Mel {
    dtype: ElementType,
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(5..=5)?;
    Ok(Box::new(Mel { dtype: output_type(spec)? }))
}

fn mel(hertz: f64) -> f64 {
    2595.0 * (hertz / 700.0).ln_1p() / std::f64::consts::LN_10
}

fn hertz(mel: f64) -> f64 {
    700.0 * (mel / 2595.0 * std::f64::consts::LN_10).exp_m1()
}

/// The one number of input `i`.
fn number(inputs: &Inputs<'_>, i: usize) -> Result<f64> {
    match inputs.tensor(i)?.to_f64_vec()?[..] {
        [value] if value.is_finite() && value >= 0.0 => Ok(value),
        _ => bail!(InvalidInput, "MelWeightMatrix: input {i} is no frequency"),
    }
}

impl Kernel for Mel {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let lengths = (length(inputs, 0, 0)?, length(inputs, 1, 0)?, length(inputs, 2, 1)?);
        let (Some(bands), Some(dft), Some(rate)) = lengths else {
            bail!(InvalidInput, "MelWeightMatrix: an input is missing");
        };
        let (low, high) = (number(inputs, 3)?, number(inputs, 4)?);
        // False for NaN, too.
        let ordered = low <= high;
        ensure!(ordered, InvalidInput, "MelWeightMatrix: from {low} to {high} hertz");
        let bins = dft / 2 + 1;
        let shape = ctx.shape_of::<f64>(&[bins, bands])?;
        let mut out = ctx.filled(shape.len(), 0f64)?;
        let step = (mel(high) - mel(low)) / (bands as f64 + 2.0);
        let bin = |i: usize| -> Result<usize> {
            let at = ((dft as f64 + 1.0) * hertz(mel(low) + i as f64 * step) / rate as f64).floor();
            // The mel of 0 Hz and back may fall short of it.
            let at = at.max(0.0);
            // A triangle may end right behind the last bin.
            let within = at <= bins as f64;
            ensure!(
                within,
                InvalidInput,
                "MelWeightMatrix: {high} hertz lie beyond a spectrum of {bins} bins"
            );
            Ok(at as usize)
        };
        for band in 0..bands {
            ctx.check_deadline()?;
            let (left, peak, right) = (bin(band)?, bin(band + 1)?, bin(band + 2)?);
            let mut set = |at: usize, weight: f64| {
                if let Some(v) = out.get_mut(at * bands + band) {
                    *v = weight;
                }
            };
            for at in left..peak {
                set(at, (at - left) as f64 / (peak - left) as f64);
            }
            set(peak, 1.0);
            for at in peak + 1..right {
                set(at, (right - at) as f64 / (right - peak) as f64);
            }
        }
        let weights = ctx.tensor(shape, out)?;
        one(cast(ctx, weights, self.dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use crate::kernel::testing::{Op, assert_close, t};
    use crate::tensor::Tensor;

    fn inputs(bands: i32, dft: i32, rate: i32, low: f32, high: f32) -> Vec<Tensor> {
        let lengths = [bands, dft, rate].map(Tensor::scalar);
        lengths.into_iter().chain([low, high].map(Tensor::scalar)).collect()
    }

    #[test]
    fn triangles_on_the_mel_scale() {
        // Bands of less than a bin are one bin each.
        let y = Op::onnx("MelWeightMatrix", 17).run1(&inputs(8, 16, 8192, 0.0, 4096.0));
        let mut expected = [0f32; 9 * 8];
        for (bin, band) in [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7)] {
            expected[bin * 8 + band] = 1.0;
        }
        assert_close(&y, &t(&[9, 8], &expected));
        let op = Op::onnx("MelWeightMatrix", 17).int("output_datatype", 11);
        let y = op.run1(&inputs(3, 32, 16000, 100.0, 7000.0));
        let mut expected = [0f64; 17 * 3];
        for (bin, band, weight) in [
            (1, 0, 1.0),
            (2, 1, 1.0),
            (3, 1, 0.5),
            (3, 2, 0.5),
            (4, 2, 1.0),
            (5, 2, 0.75),
            (6, 2, 0.5),
            (7, 2, 0.25),
        ] {
            expected[bin * 3 + band] = weight;
        }
        assert_close(&y, &t(&[17, 3], &expected));
    }

    #[test]
    fn what_is_no_spectrum_is_refused() {
        let op = Op::onnx("MelWeightMatrix", 17);
        assert_eq!(op.run1(&inputs(0, 16, 8192, 0.0, 4096.0)).dims(), [9, 0]);
        for bad in [
            inputs(-1, 16, 8192, 0.0, 4096.0),
            inputs(8, -1, 8192, 0.0, 4096.0),
            inputs(8, 16, 0, 0.0, 4096.0),
            inputs(8, 16, 8192, 4096.0, 0.0),
            inputs(8, 16, 8192, -1.0, 4096.0),
            inputs(8, 16, 8192, 0.0, f32::INFINITY),
            inputs(8, 16, 8192, 0.0, 1e9),
            inputs(i32::MAX, i32::MAX, 8192, 0.0, 4096.0),
        ] {
            assert!(op.run(&bad).is_err());
        }
    }
}
