//! TfIdfVectorizer: counts of the n-grams of a pool.

use super::super::{Context, Inputs, Kernel, OpSpec, Outputs, TextPart, TokenCount, one};
use super::vocabulary::Vocabulary;
use crate::error::{Result, bail, ensure};
use crate::tensor::{Data, Tensor};
use rustc_hash::FxHashMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Tf,
    Idf,
    TfIdf,
}

/// The words of the pool by number: n-grams are looked up by the numbers of their words.
enum Words {
    Ints(FxHashMap<i64, u32>),
    Strings(Vocabulary),
}

/// One step of the pool's longer n-grams: from the n-gram so far and a word to the longer n-gram.
type Steps = FxHashMap<(u32, u32), u32>;

/// The n-gram of no words.
const ROOT: u32 = 0;

/// The output column of what is no n-gram of the pool: columns are below 2³¹.
const NO_COLUMN: u32 = u32::MAX;

struct TfIdfVectorizer {
    mode: Mode,
    shortest: usize,
    longest: usize,
    skips: usize,
    words: Words,
    steps: Steps,
    /// The output column of each n-gram of the steps, or [`NO_COLUMN`].
    column_of: Vec<u32>,
    /// The output column of each word that is an n-gram of the pool alone, or [`NO_COLUMN`].
    column_of_word: Vec<u32>,
    /// By column.
    weights: Vec<f32>,
    width: usize,
}

fn positive(spec: &OpSpec<'_>, name: &str, least: i64) -> Result<usize> {
    let value = spec.attributes.int(name, least)?;
    match usize::try_from(value) {
        Ok(v) if value >= least && v <= 1 << 30 => Ok(v),
        _ => Err(spec.invalid(format_args!("'{name}' is {value}, expected {least} or more"))),
    }
}

pub(super) fn prepare(spec: &OpSpec<'_>) -> Result<Box<dyn Kernel>> {
    spec.arity(1..=1)?;
    let a = spec.attributes;
    let mode = match a.str("mode", "")?.as_str() {
        "TF" => Mode::Tf,
        "IDF" => Mode::Idf,
        "TFIDF" => Mode::TfIdf,
        other => return Err(spec.invalid(format_args!("mode '{other}' is not known"))),
    };
    let shortest = positive(spec, "min_gram_length", 1)?;
    let longest = positive(spec, "max_gram_length", 1)?;
    let skips = positive(spec, "max_skip_count", 0)?;
    let starts = a.ints("ngram_counts")?;
    ensure!(
        shortest <= longest && longest <= starts.len(),
        InvalidModel,
        "{}: n-grams of {shortest} to {longest} words, 'ngram_counts' has {} entries",
        spec.op,
        starts.len()
    );
    let columns = a.ints("ngram_indexes")?;
    let mut width = 0;
    for &c in columns {
        let column = usize::try_from(c).ok().filter(|&c| c < 1 << 31);
        let column = column.ok_or_else(|| spec.invalid(format_args!("n-gram index {c}")))?;
        width = width.max(column + 1);
    }
    ensure!(!columns.is_empty(), InvalidModel, "{}: 'ngram_indexes' is empty", spec.op);
    let weights = a.floats("weights")?;
    ensure!(
        weights.is_empty() || weights.len() == columns.len(),
        InvalidModel,
        "{}: {} weights for {} n-grams",
        spec.op,
        weights.len(),
        columns.len()
    );

    // The pool as numbers of words.
    let strings = a.strs("pool_strings")?;
    let ints = a.ints("pool_int64s")?;
    ensure!(
        strings.is_empty() != ints.is_empty(),
        InvalidModel,
        "{}: expected one of 'pool_strings' and 'pool_int64s'",
        spec.op
    );
    let (words, count, pool): (Words, usize, Vec<u32>) = if strings.is_empty() {
        let mut map = FxHashMap::default();
        let mut number = |&i: &i64| {
            let next = map.len() as u32;
            *map.entry(i).or_insert(next)
        };
        let pool = ints.iter().map(&mut number).collect();
        let count = map.len();
        (Words::Ints(map), count, pool)
    } else {
        let mut words = Vocabulary::default();
        let pool = strings.iter().map(|s| words.number(s)).collect::<Result<_>>()?;
        words.shrink();
        let count = words.len();
        (Words::Strings(words), count, pool)
    };

    let mut steps = Steps::default();
    let mut column_of = vec![NO_COLUMN];
    let mut column_of_word = vec![NO_COLUMN; count];
    let mut ngram = 0;
    for (i, &start) in starts.iter().enumerate() {
        let size = i + 1;
        let end = starts.get(i + 1).copied().unwrap_or(pool.len() as i64);
        let range = match (usize::try_from(start), usize::try_from(end)) {
            (Ok(s), Ok(e)) if s <= e && e <= pool.len() && (e - s).is_multiple_of(size) => s..e,
            _ => {
                return Err(spec.invalid(format_args!(
                    "the {size}-grams lie in {start}..{end} of a pool of {}",
                    pool.len()
                )));
            }
        };
        for words in pool[range].chunks_exact(size) {
            let Some(&column) = columns.get(ngram) else {
                return Err(spec.invalid(format_args!("n-gram {ngram} has no index")));
            };
            ngram += 1;
            if !(shortest..=longest).contains(&size) {
                continue;
            }
            let slot = if let [word] = words {
                &mut column_of_word[*word as usize]
            } else {
                let mut at = ROOT;
                for &word in words {
                    let next = column_of.len() as u32;
                    at = *steps.entry((at, word)).or_insert(next);
                    if at == next {
                        column_of.push(NO_COLUMN);
                    }
                }
                &mut column_of[at as usize]
            };
            ensure!(*slot == NO_COLUMN, InvalidModel, "{}: a {size}-gram occurs twice", spec.op);
            *slot = column as u32;
        }
    }
    let mut by_column = Vec::new();
    if mode != Mode::Tf && !weights.is_empty() {
        ensure!(
            width <= columns.len().saturating_mul(16).saturating_add(1 << 16),
            LimitExceeded,
            "{}: {width} columns for {} n-grams",
            spec.op,
            columns.len()
        );
        by_column.resize(width, 1f32);
        for (&c, &w) in columns.iter().zip(weights) {
            by_column[c as usize] = w;
        }
    }
    Ok(Box::new(TfIdfVectorizer {
        mode,
        shortest,
        longest,
        skips,
        words,
        steps,
        column_of,
        column_of_word,
        weights: by_column,
        width,
    }))
}

/// A word that is in no n-gram of the pool.
const UNKNOWN: u32 = u32::MAX;

impl TfIdfVectorizer {
    fn numbers(&self, input: &Tensor) -> Result<Vec<u32>> {
        Ok(match (&self.words, input.data()) {
            (Words::Strings(map), Data::String(v)) => {
                v.iter().map(|s| map.get(s).unwrap_or(UNKNOWN)).collect()
            }
            (Words::Ints(map), Data::I64(_) | Data::I32(_)) => {
                let known = |i: i64| map.get(&i).copied().unwrap_or(UNKNOWN);
                input.to_i64_vec()?.into_iter().map(known).collect()
            }
            (_, other) => bail!(
                InvalidInput,
                "TfIdfVectorizer: its pool does not fit elements of type {}",
                other.dtype()
            ),
        })
    }

    /// Calls `each` with the columns of the n-grams of one row, by the words they begin with.
    fn tally(&self, row: &[u32], mut each: impl FnMut(u32)) {
        // Single words have no gaps: they are counted once, not for every skip.
        if self.shortest == 1 {
            for &word in row {
                match self.column_of_word.get(word as usize) {
                    None | Some(&NO_COLUMN) => {}
                    Some(&column) => each(column),
                }
            }
        }
        let least = self.shortest.max(2);
        if self.longest < least {
            return;
        }
        for distance in 1..=self.skips + 1 {
            if distance.saturating_mul(least - 1) >= row.len() {
                break;
            }
            for start in 0..row.len() {
                let mut at = Some(ROOT);
                let words = row[start..].iter().step_by(distance).take(self.longest);
                for (i, &word) in words.enumerate() {
                    at = at.and_then(|at| self.step(at, word));
                    if at.is_none() {
                        break;
                    }
                    if i + 1 >= least
                        && let Some(column) = self.column(at)
                    {
                        each(column);
                    }
                }
            }
        }
    }

    fn step(&self, at: u32, word: u32) -> Option<u32> {
        self.steps.get(&(at, word)).copied()
    }

    fn column(&self, ngram: Option<u32>) -> Option<u32> {
        self.column_of.get(ngram? as usize).copied().filter(|&column| column != NO_COLUMN)
    }

    fn weigh(&self, column: u32, count: f32) -> f32 {
        let count = if self.mode == Mode::Idf { count.min(1.0) } else { count };
        count * self.weights.get(column as usize).copied().unwrap_or(1.0)
    }
}

impl Kernel for TfIdfVectorizer {
    fn run(&self, ctx: &mut Context<'_>, inputs: &mut Inputs<'_>) -> Result<Outputs> {
        let input = inputs.tensor(0)?;
        let (rows, length) = match *input.dims() {
            [] => (1, 1),
            [c] => (1, c),
            [b, c] => (b, c),
            _ => bail!(
                InvalidInput,
                "TfIdfVectorizer: expected shape [C] or [B, C], got {}",
                input.shape()
            ),
        };
        let dims: &[usize] =
            if input.dims().len() == 2 { &[rows, self.width] } else { &[self.width] };
        let shape = ctx.shape_of::<f32>(dims)?;
        let mut out = ctx.filled(shape.len(), 0f32)?;
        let numbers = self.numbers(input)?;
        let cost = length.saturating_mul(20 * (1 + self.skips.min(100))).saturating_add(self.width);
        ctx.threads.split_rows(&mut out, self.width, cost, |range, out| {
            for (i, counts) in range.zip(out.chunks_exact_mut(self.width)) {
                let row = &numbers[i * length..(i + 1) * length];
                self.tally(row, |column| counts[column as usize] += 1.0);
                if self.mode != Mode::Tf {
                    for (count, column) in counts.iter_mut().zip(0..) {
                        *count = self.weigh(column, *count);
                    }
                }
            }
        });
        one(ctx.tensor(shape, out)?)
    }

    fn text_part(&self) -> Option<TextPart<'_>> {
        // No word of the pool, no weight: not so where a weight is no number.
        let zeros = self.weights.iter().all(|w| w.is_finite());
        (zeros && matches!(self.words, Words::Strings(_))).then_some(TextPart::Count(self))
    }
}

impl TokenCount for TfIdfVectorizer {
    fn width(&self) -> usize {
        self.width
    }

    fn number(&self, token: &str) -> u32 {
        match &self.words {
            Words::Strings(words) => words.get(token).unwrap_or(UNKNOWN),
            Words::Ints(_) => UNKNOWN,
        }
    }

    fn is_unknown(&self, token: &str) -> bool {
        TokenCount::number(self, token) == UNKNOWN
    }

    fn tally(&self, numbers: &[u32], each: &mut dyn FnMut(u32)) {
        TfIdfVectorizer::tally(self, numbers, each);
    }

    fn weigh(&self, column: u32, count: f32) -> f32 {
        TfIdfVectorizer::weigh(self, column, count)
    }
}
