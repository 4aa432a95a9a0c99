//! Lists of integers (shapes, axes, sizes) that moved from attributes to inputs over the opsets.

use crate::error::Result;
use crate::kernel::{Inputs, OpSpec};

/// A list of integers that is an attribute, a constant input, or known only at run time.
pub(in crate::kernel) enum Ints {
    /// Neither attribute nor input is there.
    Absent,
    /// Known since prepare.
    Known(Vec<i64>),
    /// Read from this input at each run.
    Input(usize),
}

impl Ints {
    /// From input `i`: its value now where it is constant.
    pub(in crate::kernel) fn input(spec: &OpSpec<'_>, i: usize) -> Result<Ints> {
        Ok(match spec.constant(i) {
            _ if !spec.has_input(i) => Ints::Absent,
            Some(t) => Ints::Known(t.to_i64_vec().map_err(|e| spec.invalid(e))?),
            None => Ints::Input(i),
        })
    }

    /// From an attribute.
    pub(in crate::kernel) fn attribute(spec: &OpSpec<'_>, name: &str) -> Result<Ints> {
        Ok(spec.attributes.ints_opt(name)?.map_or(Ints::Absent, |v| Ints::Known(v.to_vec())))
    }

    /// The attribute before opset `since`, the input from it on.
    pub(in crate::kernel) fn moved(
        spec: &OpSpec<'_>,
        name: &str,
        i: usize,
        since: i64,
    ) -> Result<Ints> {
        if spec.version < since { Ints::attribute(spec, name) } else { Ints::input(spec, i) }
    }

    /// The list for this run, `None` where absent.
    pub(in crate::kernel) fn get<'a>(
        &'a self,
        inputs: &Inputs<'_>,
    ) -> Result<Option<SmallInts<'a>>> {
        Ok(match self {
            Ints::Absent => None,
            Ints::Known(v) => Some(SmallInts::Borrowed(v)),
            Ints::Input(i) => Some(SmallInts::Owned(inputs.tensor(*i)?.to_i64_vec()?)),
        })
    }
}

/// A list of integers of one run.
pub(in crate::kernel) type SmallInts<'a> = std::borrow::Cow<'a, [i64]>;
