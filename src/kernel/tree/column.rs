//! Features as the nodes want them.
//!
//! A node asks only `column <= threshold`. What a trainer does with missing values becomes a
//! column of its own: NaN fails every test, and minus infinity passes every one, so that a
//! feature whose missing values go one way here and the other way there has two columns.

use super::real::Real;
use crate::ensemble::ZERO;

/// How a column is made from its feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// As it is.
    Plain,
    /// NaN passes.
    NanPasses,
    /// NaN is 0.
    NanIsZero,
    /// NaN and what counts as zero fail.
    ZeroFails,
    /// NaN and what counts as zero pass.
    ZeroPasses,
}

/// One value a row that nodes look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Column {
    pub feature: u32,
    pub rule: Rule,
}

impl Rule {
    /// How many there are.
    pub(super) const COUNT: usize = Rule::ZeroPasses as usize + 1;

    /// The column's value for a feature's.
    #[inline(always)]
    pub(super) fn apply<T: Real>(self, x: T) -> T {
        let zero = || x.is_nan() || (x.f64() <= ZERO && x.f64() >= -ZERO);
        match self {
            Rule::Plain => x,
            Rule::NanPasses => choose(x.is_nan(), T::NEG_INFINITY, x),
            Rule::NanIsZero => choose(x.is_nan(), T::ZERO, x),
            Rule::ZeroFails => choose(zero(), T::NAN, x),
            Rule::ZeroPasses => choose(zero(), T::NEG_INFINITY, x),
        }
    }
}

#[inline(always)]
fn choose<T: Real>(condition: bool, yes: T, no: T) -> T {
    if condition { yes } else { no }
}

/// The columns of a forest.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns {
    pub list: Vec<Column>,
    /// Every column is a feature as it is, and its number is the feature's.
    pub identity: bool,
}

impl Columns {
    /// The columns of one row.
    #[inline]
    pub(super) fn of_row<T: Real>(&self, row: &[T], out: &mut Vec<T>) {
        out.clear();
        out.extend(self.list.iter().map(|c| c.rule.apply(row[c.feature as usize])));
    }
}
