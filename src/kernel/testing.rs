//! Running one operator in a unit test.

use super::{Arena, Arg, Context, InputSpec, Inputs, OpSpec, registry};
use crate::attribute::{Attribute, Attributes};
use crate::error::Result;
use crate::limits::{LoadLimits, RequestLimits};
use crate::tensor::{Element, Tensor, Value};
use crate::threads::Threads;

/// One operator under test: attributes are added, then it is run on inputs.
pub struct Op {
    domain: &'static str,
    op: &'static str,
    version: i64,
    attributes: Attributes,
    constant: Vec<usize>,
    wanted: Vec<bool>,
    threads: usize,
}

impl Op {
    /// An `ai.onnx` operator of this opset.
    pub fn onnx(op: &'static str, version: i64) -> Op {
        Op::new("", op, version)
    }

    /// An `ai.onnx.ml` operator of this opset.
    pub fn ml(op: &'static str, version: i64) -> Op {
        Op::new("ai.onnx.ml", op, version)
    }

    /// An operator of any domain.
    pub fn new(domain: &'static str, op: &'static str, version: i64) -> Op {
        let attributes = Attributes::default();
        let wanted = vec![true];
        Op { domain, op, version, attributes, constant: vec![], wanted, threads: 1 }
    }

    /// Sets an attribute.
    pub fn attr(mut self, name: &str, value: Attribute) -> Op {
        self.attributes.set(name, value);
        self
    }

    pub fn int(self, name: &str, value: i64) -> Op {
        self.attr(name, Attribute::Int(value))
    }

    pub fn float(self, name: &str, value: f32) -> Op {
        self.attr(name, Attribute::Float(value))
    }

    pub fn ints(self, name: &str, value: &[i64]) -> Op {
        self.attr(name, Attribute::Ints(value.to_vec()))
    }

    pub fn floats(self, name: &str, value: &[f32]) -> Op {
        self.attr(name, Attribute::Floats(value.to_vec()))
    }

    pub fn string(self, name: &str, value: &str) -> Op {
        self.attr(name, Attribute::String(value.as_bytes().to_vec()))
    }

    pub fn strings(self, name: &str, value: &[&str]) -> Op {
        let value = value.iter().map(|s| s.as_bytes().to_vec().into()).collect();
        self.attr(name, Attribute::Strings(value))
    }

    /// Gives the inputs of these numbers to `prepare` as constants too (weights).
    pub fn constant(mut self, inputs: &[usize]) -> Op {
        self.constant = inputs.to_vec();
        self
    }

    /// How many outputs are wanted (default 1).
    pub fn outputs(mut self, n: usize) -> Op {
        self.wanted = vec![true; n];
        self
    }

    /// Which outputs are wanted.
    pub fn wants(mut self, wanted: &[bool]) -> Op {
        self.wanted = wanted.to_vec();
        self
    }

    /// How many threads the kernel may use (default 1).
    pub fn threads(mut self, n: usize) -> Op {
        self.threads = n;
        self
    }

    /// Prepares and runs it; `None` is a left-out input. Inputs are handed over as owned.
    pub fn run_values(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>> {
        Ok(self.run_prepared(registry::prepare, inputs)?.0)
    }

    /// As [`Op::run`] for one output, with the kernel of the plain plan; whether candle's
    /// operator computed it, too.
    pub fn run_reference(&self, inputs: &[Tensor]) -> Result<(Tensor, bool)> {
        let inputs: Vec<_> = inputs.iter().cloned().map(|t| Some(Value::Tensor(t))).collect();
        let (mut outputs, runs) = self.run_prepared(registry::prepare_reference, &inputs)?;
        Ok((outputs.remove(0).into_tensor()?, runs == Some(1)))
    }

    fn run_prepared(
        &self,
        prepare: registry::Prepare,
        inputs: &[Option<Value>],
    ) -> Result<(Vec<Value>, Option<u64>)> {
        let specs: Vec<InputSpec<'_>> = inputs
            .iter()
            .enumerate()
            .map(|(i, v)| InputSpec {
                present: v.is_some(),
                constant: v.as_ref().filter(|_| self.constant.contains(&i)),
            })
            .collect();
        let limits = LoadLimits::default();
        let kernel = prepare(&OpSpec {
            op: self.op,
            domain: self.domain,
            version: self.version,
            node: "test",
            attributes: &self.attributes,
            inputs: &specs,
            outputs: &self.wanted,
            limits: &limits,
        })?;
        let threads = Threads::new(self.threads);
        let limits = RequestLimits::default();
        let mut arena = Arena::default();
        let mut ctx = Context {
            threads: &threads,
            limits: &limits,
            arena: &mut arena,
            deadline: None,
            cancel: None,
        };
        let args = inputs
            .iter()
            .map(|v| match v {
                Some(v) => Arg::Owned(v.clone()),
                None => Arg::Absent,
            })
            .collect();
        let outputs = kernel.run(&mut ctx, &mut Inputs::new(args))?;
        Ok((outputs.into_vec(), kernel.candle_runs()))
    }

    /// As [`Op::run_values`], for tensors.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let inputs: Vec<_> = inputs.iter().cloned().map(|t| Some(Value::Tensor(t))).collect();
        self.run_values(&inputs)?.into_iter().map(Value::into_tensor).collect()
    }

    /// As [`Op::run`], for one output; panics on an error.
    pub fn run1(&self, inputs: &[Tensor]) -> Tensor {
        self.run(inputs).unwrap().remove(0)
    }
}

/// A tensor literal.
pub fn t<T: Element>(dims: &[usize], data: &[T]) -> Tensor {
    Tensor::from_vec(dims, data.to_vec()).unwrap()
}

/// A tensor of strings.
pub fn strings(dims: &[usize], data: &[&str]) -> Tensor {
    Tensor::from_vec(dims, data.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap()
}

/// Asserts that two f32 tensors agree within `1e-5 + 1e-5·|expected|` and have one shape.
pub fn assert_close(got: &Tensor, expected: &Tensor) {
    assert_eq!(got.shape(), expected.shape());
    let (g, e) = (got.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
    for (i, (g, e)) in g.iter().zip(&e).enumerate() {
        let same = g == e || (g.is_nan() && e.is_nan()) || (g - e).abs() <= 1e-5 + 1e-5 * e.abs();
        assert!(same, "element {i}: got {g}, expected {e}");
    }
}
