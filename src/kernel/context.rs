//! What a kernel gets at run time: its inputs, buffers, threads and budgets.

use super::Arena;
use crate::error::{Result, ensure, err};
use crate::limits::RequestLimits;
use crate::tensor::{Data, Element, Shape, Tensor, Value};
use crate::threads::Threads;
use smallvec::SmallVec;

/// One input of a running kernel.
#[derive(Debug, Default)]
pub enum Arg<'a> {
    /// Left out.
    #[default]
    Absent,
    /// Still needed by others, or a constant.
    Borrowed(&'a Value),
    /// This step is its last reader: its buffer may be reused for the output.
    Owned(Value),
}

/// The inputs of a running kernel, in order.
#[derive(Debug, Default)]
pub struct Inputs<'a> {
    args: SmallVec<[Arg<'a>; 4]>,
}

impl<'a> Inputs<'a> {
    /// Inputs from arguments.
    pub fn new(args: SmallVec<[Arg<'a>; 4]>) -> Inputs<'a> {
        Inputs { args }
    }

    /// How many there are, left-out ones included.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.args.len()
    }

    /// Whether input `i` is there.
    pub fn has(&self, i: usize) -> bool {
        self.get(i).is_some()
    }

    /// Input `i`, where it is there.
    pub fn get(&self, i: usize) -> Option<&Value> {
        match self.args.get(i)? {
            Arg::Absent => None,
            Arg::Borrowed(v) => Some(v),
            Arg::Owned(v) => Some(v),
        }
    }

    /// Input `i` as a tensor.
    ///
    /// # Errors
    /// `InvalidInput` when it is missing or no tensor.
    pub fn tensor(&self, i: usize) -> Result<&Tensor> {
        self.get(i).ok_or_else(|| err!(InvalidInput, "input {i} is missing"))?.as_tensor()
    }

    /// Input `i` as a tensor, `None` where it is left out.
    ///
    /// # Errors
    /// `InvalidInput` when it is no tensor.
    pub fn tensor_opt(&self, i: usize) -> Result<Option<&Tensor>> {
        self.get(i).map(Value::as_tensor).transpose()
    }

    /// Takes input `i`: moved when this step is its last reader, else a cheap shared clone.
    ///
    /// # Errors
    /// `InvalidInput` when it is missing.
    pub fn take(&mut self, i: usize) -> Result<Value> {
        match self.args.get_mut(i).map(std::mem::take) {
            Some(Arg::Owned(v)) => Ok(v),
            Some(Arg::Borrowed(v)) => {
                let value = v.clone();
                self.args[i] = Arg::Borrowed(v);
                Ok(value)
            }
            _ => Err(err!(InvalidInput, "input {i} is missing")),
        }
    }

    /// As [`Inputs::take`], as a tensor.
    ///
    /// # Errors
    /// `InvalidInput` when it is missing or no tensor.
    pub fn take_tensor(&mut self, i: usize) -> Result<Tensor> {
        self.take(i)?.into_tensor()
    }

    /// The buffer of input `i` for working in place, where this step is its last reader, nobody
    /// shares it and its elements are `T`. The input is gone afterwards; `None` leaves it.
    pub fn take_unique<T: Element>(&mut self, i: usize) -> Option<(Shape, Vec<T>)> {
        let arg = self.args.get_mut(i)?;
        match std::mem::take(arg) {
            Arg::Owned(Value::Tensor(tensor)) => match tensor.try_into_unique_vec::<T>() {
                Ok(parts) => Some(parts),
                Err(tensor) => {
                    *arg = Arg::Owned(Value::Tensor(tensor));
                    None
                }
            },
            other => {
                *arg = other;
                None
            }
        }
    }

    /// What is left after the run: values whose last reader has finished.
    pub fn into_args(self) -> SmallVec<[Arg<'a>; 4]> {
        self.args
    }
}

/// What every kernel of one run shares.
pub struct Context<'a> {
    /// Worker threads for large steps.
    pub threads: &'a Threads,
    /// What the request may cost.
    pub limits: &'a RequestLimits,
    /// Recycled buffers.
    pub arena: &'a mut Arena,
    /// When the answer is of no use any more.
    pub deadline: Option<std::time::Instant>,
    /// Set when the caller does not want the answer any more.
    pub cancel: Option<&'a std::sync::atomic::AtomicBool>,
}

impl Context<'_> {
    /// Calls `f` with a context of its own: one thread, the default limits, no deadline. For single
    /// kernels outside of a plan's run.
    pub fn alone<R>(f: impl FnOnce(&mut Context<'_>) -> R) -> R {
        let threads = Threads::new(1);
        let limits = RequestLimits::default();
        let mut arena = Arena::default();
        f(&mut Context {
            threads: &threads,
            limits: &limits,
            arena: &mut arena,
            deadline: None,
            cancel: None,
        })
    }

    /// The shape of a result with elements of type `T`, checked against the run's byte limit.
    /// Every size that depends on input data goes through here before anything is allocated.
    ///
    /// # Errors
    /// `LimitExceeded`.
    pub fn shape_of<T: Element>(&self, dims: &[usize]) -> Result<Shape> {
        let shape = Shape::new(dims)?;
        self.check_bytes(shape.len(), T::TYPE.size())?;
        Ok(shape)
    }

    fn check_bytes(&self, len: usize, size: usize) -> Result<()> {
        let bytes = (len as u64).saturating_mul(size as u64);
        ensure!(
            bytes <= self.limits.run_bytes,
            LimitExceeded,
            "a result of {bytes} bytes passes the limit of {} (RequestLimits::run_bytes)",
            self.limits.run_bytes
        );
        Ok(())
    }

    /// An empty vector with room for `len` elements.
    ///
    /// # Errors
    /// `LimitExceeded` when that passes the run's byte limit, or there is no memory for it.
    pub fn buffer<T: Element>(&mut self, len: usize) -> Result<Vec<T>> {
        self.check_bytes(len, T::TYPE.size())?;
        self.arena.take(len)
    }

    /// A vector of `len` times `value`.
    ///
    /// # Errors
    /// As [`Context::buffer`].
    pub fn filled<T: Element>(&mut self, len: usize, value: T) -> Result<Vec<T>> {
        let mut v = self.buffer(len)?;
        v.resize(len, value);
        Ok(v)
    }

    /// Gives a scratch buffer back for later steps.
    pub fn recycle<T: Element>(&mut self, buffer: Vec<T>) {
        self.arena.give(T::wrap(buffer));
    }

    /// Gives the buffer of a finished value back, where nobody shares it.
    pub fn recycle_value(&mut self, value: Value) {
        if let Value::Tensor(tensor) = value
            && let Some(data) = tensor.into_unique_data()
        {
            self.arena.give(data);
        }
    }

    /// A tensor of a result.
    ///
    /// # Errors
    /// `InvalidInput` when the lengths differ (a defect of the kernel).
    pub fn tensor<T: Element>(&self, shape: Shape, data: Vec<T>) -> Result<Tensor> {
        Tensor::new(shape, T::wrap(data))
    }

    /// A tensor of a result from typed data.
    ///
    /// # Errors
    /// As [`Context::tensor`].
    pub fn tensor_from(&self, shape: Shape, data: Data) -> Result<Tensor> {
        Tensor::new(shape, data)
    }

    /// Fails once the deadline has passed or the caller has cancelled; long loops call it each
    /// turn.
    ///
    /// # Errors
    /// `DeadlineExceeded` or `Cancelled`.
    pub fn check_deadline(&self) -> Result<()> {
        // Pairs with the store in `CancelToken::cancel`; nothing else is published by it.
        if self.cancel.is_some_and(|c| c.load(std::sync::atomic::Ordering::Acquire)) {
            return Err(err!(Cancelled, "the caller cancelled the request while the model ran"));
        }
        match self.deadline {
            Some(at) if std::time::Instant::now() >= at => {
                Err(err!(DeadlineExceeded, "the deadline passed while the model ran"))
            }
            _ => Ok(()),
        }
    }
}
