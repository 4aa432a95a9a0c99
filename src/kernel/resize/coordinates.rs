//! Where an output coordinate lies in the input.
//!
//! In `f32`, as the common runtimes compute it: which of two equally near elements is taken
//! depends on it.

/// ONNX's `coordinate_transformation_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    TfHalfPixelForNn,
    AlignCorners,
    Asymmetric,
    CropAndResize,
}

impl Coordinates {
    pub fn parse(name: &str) -> Option<Coordinates> {
        Some(match name {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "tf_half_pixel_for_nn" => Coordinates::TfHalfPixelForNn,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_crop_and_resize" => Coordinates::CropAndResize,
            _ => return None,
        })
    }
}

/// ONNX's `nearest_mode`, and the rule of the operators before opset 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
    /// Up where the axis shrinks, down where it grows.
    Simple,
}

impl Nearest {
    pub fn parse(name: &str) -> Option<Nearest> {
        Some(match name {
            "round_prefer_floor" => Nearest::RoundPreferFloor,
            "round_prefer_ceil" => Nearest::RoundPreferCeil,
            "floor" => Nearest::Floor,
            "ceil" => Nearest::Ceil,
            _ => return None,
        })
    }

    fn round(self, x: f32, scale: f32) -> f32 {
        match self {
            Nearest::RoundPreferFloor => (x - 0.5).ceil(),
            Nearest::RoundPreferCeil => (x + 0.5).floor(),
            Nearest::Floor => x.floor(),
            Nearest::Ceil => x.ceil(),
            Nearest::Simple if scale < 1.0 => x.ceil(),
            Nearest::Simple => x.floor(),
        }
    }
}

/// How one axis is resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub input: usize,
    pub output: usize,
    pub scale: f32,
    /// The output's length before it is cut to whole elements.
    pub length: f32,
    /// Start and end of the region of interest, as parts of the axis.
    pub crop: (f32, f32),
}

impl Axis {
    pub fn unchanged(size: usize) -> Axis {
        Axis { input: size, output: size, scale: 1.0, length: size as f32, crop: (0.0, 1.0) }
    }

    pub fn is_unchanged(&self) -> bool {
        *self == Axis::unchanged(self.input)
    }

    /// The input coordinate of output coordinate `at`.
    pub fn source(&self, mode: Coordinates, at: usize) -> f32 {
        if self.is_unchanged() {
            return at as f32;
        }
        let (x, scale) = (at as f32, self.scale);
        let (input, output) = (self.input as f32, self.output as f32);
        match mode {
            Coordinates::HalfPixel => (x + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = output / self.length;
                let offset = input / 2.0 * (1.0 - adjustment);
                offset + (x + 0.5) / scale - 0.5
            }
            Coordinates::PytorchHalfPixel if self.output > 1 => (x + 0.5) / scale - 0.5,
            Coordinates::PytorchHalfPixel => 0.0,
            Coordinates::TfHalfPixelForNn => (x + 0.5) / scale,
            // By the length that was asked for, as the operator's test cases have it: the last
            // element is at the corner only where nothing was cut.
            Coordinates::AlignCorners if self.output > 1 => x * (input - 1.0) / (self.length - 1.0),
            Coordinates::AlignCorners => 0.0,
            Coordinates::Asymmetric => x / scale,
            Coordinates::CropAndResize => {
                let (start, end) = self.crop;
                if self.output > 1 {
                    start * (input - 1.0) + x * (end - start) * (input - 1.0) / (output - 1.0)
                } else {
                    0.5 * (start + end) * (input - 1.0)
                }
            }
        }
    }

    /// The nearest input element of each output coordinate.
    pub fn nearest(&self, mode: Coordinates, rounding: Nearest) -> Vec<usize> {
        let last = self.input.saturating_sub(1);
        (0..self.output)
            .map(|at| {
                if self.is_unchanged() {
                    return at;
                }
                // A float below 0 (or NaN) becomes 0 here.
                (rounding.round(self.source(mode, at), self.scale) as usize).min(last)
            })
            .collect()
    }

    /// Which output coordinates lie outside the input; empty when none does.
    pub fn outside(&self, mode: Coordinates) -> Vec<bool> {
        let last = self.input as f32 - 1.0;
        let outside: Vec<bool> =
            (0..self.output).map(|at| !(0.0..=last).contains(&self.source(mode, at))).collect();
        if outside.contains(&true) { outside } else { vec![] }
    }
}
