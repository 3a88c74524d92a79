//! Reads what `opt_create` is told: a JSON object (RFC 8259). Members that are not known are skipped.

use crate::{refuse, Refusal, BAD_ARGUMENT, UNSUPPORTED};

/// The problem to search.
#[derive(Default)]
pub struct Config {
    pub dim: usize,         // weights of a candidate
    pub budget: usize,      // candidates in all
    pub batch: usize,       // the most that are evaluated at once, a hint for the size of rounds
    pub seed: u64,          // everything random comes from it
    pub lower: Vec<f64>,    // [dim], inclusive
    pub upper: Vec<f64>,    // [dim], inclusive
    pub init: Vec<f64>,     // [dim] or empty, the point to start from
    pub l1: f64,            // the objective holds l1·Σ|w|
    pub aux: usize,         // log-probabilities that a score carries
    pub groups: Vec<usize>, // how many of them belong to each example, in order; empty if that is not known
}

const MAX_DIM: usize = 10_000;
const MAX_BUDGET: usize = 100_000;
const MAX_DEPTH: usize = 64;

impl Config {
    pub fn read(text: &[u8]) -> Result<Config, Refusal> {
        let mut c = Config::default();
        let mut r = Reader { rest: text };
        r.object(|r, name| {
            match name {
                b"dim" => c.dim = r.integer()?,
                b"budget" => c.budget = r.integer()?,
                b"batch" => c.batch = r.integer()?,
                b"seed" => c.seed = r.seed()?,
                b"lower" => c.lower = r.list(Reader::number)?,
                b"upper" => c.upper = r.list(Reader::number)?,
                b"init" => c.init = r.list(Reader::number)?,
                b"l1" => c.l1 = r.number()?,
                b"aux" => c.aux = r.integer()?,
                b"groups" => c.groups = r.list(Reader::integer)?,
                b"options" => {
                    r.object(|_, _| refuse(UNSUPPORTED, "options: this plugin has none"))?
                }
                _ => r.skip(MAX_DEPTH)?,
            }
            Ok(())
        })?;
        r.end()?;
        c.check()?;
        Ok(c)
    }

    fn check(&self) -> Result<(), Refusal> {
        let total: u64 = self.groups.iter().map(|n| *n as u64).sum();
        let wrong = if self.dim < 1 || self.dim > MAX_DIM {
            "dim must be from 1 to 10000"
        } else if self.budget < 1 || self.budget > MAX_BUDGET {
            "budget must be from 1 to 100000"
        } else if self.batch < 1 {
            "batch must be at least 1"
        } else if self.lower.len() != self.dim || self.upper.len() != self.dim {
            "lower and upper must have dim values"
        } else if self.l1 < 0.0 {
            "l1 must be 0 or more"
        } else if self
            .lower
            .iter()
            .zip(&self.upper)
            .any(|(lower, upper)| lower > upper)
        {
            "a lower bound is above the upper one"
        } else if !self.init.is_empty() && self.init.len() != self.dim {
            "init must have dim values"
        } else if !self.groups.is_empty() && total != self.aux as u64 {
            "aux is not the sum of the groups"
        } else {
            return self.starts_at_zero();
        };
        refuse(BAD_ARGUMENT, wrong)
    }

    /// The search starts at 0, or the bound nearest to it. For another start the host tells that point before it asks.
    fn starts_at_zero(&self) -> Result<(), Refusal> {
        let nearest = |i: usize| 0f64.max(self.lower[i]).min(self.upper[i]);
        match self.init.iter().enumerate().all(|(i, v)| *v == nearest(i)) {
            true => Ok(()),
            false => refuse(UNSUPPORTED, "init: the search starts at zero"),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn wrong<T>(&self) -> Result<T, Refusal> {
        refuse(
            BAD_ARGUMENT,
            format!(
                "the configuration is not as expected, {} bytes before its end",
                self.rest.len()
            ),
        )
    }

    /// The next byte that is not white space, 0 at the end.
    fn next(&mut self) -> u8 {
        self.rest = self.rest.trim_ascii_start();
        self.rest.first().copied().unwrap_or(0)
    }

    fn take(&mut self, c: u8) -> bool {
        let found = self.next() == c && !self.rest.is_empty();
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn want(&mut self, c: u8) -> Result<(), Refusal> {
        if self.take(c) {
            Ok(())
        } else {
            self.wrong()
        }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        self.next();
        if self.rest.is_empty() {
            Ok(())
        } else {
            self.wrong()
        }
    }

    /// Calls item before each comma and the closing bracket.
    fn items(
        &mut self,
        brackets: &[u8; 2],
        mut item: impl FnMut(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.want(brackets[0])?;
        if self.take(brackets[1]) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.take(brackets[1]) {
                return Ok(());
            }
            self.want(b',')?;
        }
    }

    /// Calls member at the value of each member, which it has to read.
    fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.items(b"{}", |r| {
            let name = r.string()?;
            r.want(b':')?;
            member(r, name)
        })
    }

    /// A string as it is written: what is told here has no escapes, so they are passed over.
    fn string(&mut self) -> Result<&'a [u8], Refusal> {
        self.want(b'"')?;
        let text = self.rest;
        let mut n = 0;
        while n < text.len() && text[n] != b'"' {
            n += if text[n] == b'\\' { 2 } else { 1 };
        }
        if n >= text.len() {
            return self.wrong();
        }
        self.rest = &text[n + 1..];
        Ok(&text[..n])
    }

    /// Reads one of the bytes of set.
    fn any(&mut self, set: &[u8]) -> bool {
        let found = self.rest.first().is_some_and(|c| set.contains(c));
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn digits(&mut self) -> Result<(), Refusal> {
        if !self.any(b"0123456789") {
            return self.wrong();
        }
        while self.any(b"0123456789") {}
        Ok(())
    }

    /// A number, parsed as T.
    fn parse<T: std::str::FromStr>(&mut self) -> Result<T, Refusal> {
        self.next();
        let text = self.rest;
        self.any(b"-");
        self.digits()?;
        if self.any(b".") {
            self.digits()?;
        }
        if self.any(b"eE") {
            self.any(b"+-");
            self.digits()?;
        }
        self.parsed(&text[..text.len() - self.rest.len()])
    }

    fn parsed<T: std::str::FromStr>(&self, text: &[u8]) -> Result<T, Refusal> {
        let value = std::str::from_utf8(text).ok().and_then(|s| s.parse().ok());
        value.map_or_else(|| self.wrong(), Ok)
    }

    fn integer(&mut self) -> Result<usize, Refusal> {
        self.parse()
    }

    fn number(&mut self) -> Result<f64, Refusal> {
        let v: f64 = self.parse()?;
        if v.is_finite() {
            Ok(v)
        } else {
            self.wrong()
        }
    }

    fn list<T>(&mut self, item: fn(&mut Self) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
        let mut all = Vec::new();
        self.items(b"[]", |r| {
            all.push(item(r)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// An unsigned 64-bit number as text, as JSON's numbers do not hold one everywhere.
    fn seed(&mut self) -> Result<u64, Refusal> {
        let digits = self.string()?;
        self.parsed(digits)
    }

    /// Passes over a value of any type, within which there may be arrays and objects up to a depth.
    fn skip(&mut self, depth: usize) -> Result<(), Refusal> {
        match self.next() {
            _ if depth == 0 => refuse(
                BAD_ARGUMENT,
                "the configuration has too many arrays or objects within each other",
            ),
            b'"' => self.string().map(drop),
            b'[' => self.items(b"[]", |r| r.skip(depth - 1)),
            b'{' => self.object(|r, _| r.skip(depth - 1)),
            _ => {
                for word in ["true", "false", "null"] {
                    if let Some(rest) = self.rest.strip_prefix(word.as_bytes()) {
                        self.rest = rest;
                        return Ok(());
                    }
                }
                self.number().map(drop)
            }
        }
    }
}
