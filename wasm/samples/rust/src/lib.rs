//! A plugin optimizer for Medley: the guest interface, version 1, over the algorithm in `es.rs`. To make a plugin of your own, replace
//! that file and the text of [`opt_info`].
//!
//! One instance of the module is one optimizer. Numbers are little-endian `f64`, candidates are rows of `dim` numbers. The host promises
//! that a pointer leads to as much memory as the call needs and that it comes from [`opt_alloc`], 8-aligned.

mod config;
mod es;

use std::alloc::{alloc, dealloc, Layout};
use std::cell::RefCell;
use std::slice;

use config::Config;
use es::Es;

/// Why a call is refused: the result that tells the host, and a sentence for people.
pub struct Refusal(i32, String);

pub const BAD_ARGUMENT: i32 = -1;
pub const UNSUPPORTED: i32 = -2;
pub const BAD_STATE: i32 = -3;

pub fn refuse<T>(code: i32, why: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(code, why.into()))
}

struct Plugin {
    optimizer: Option<Es>,
    error: String, // of the last refused call
}

thread_local! {
    static PLUGIN: RefCell<Plugin> = const { RefCell::new(Plugin { optimizer: None, error: String::new() }) };
}

/// Makes a call, and its result or refusal what the host gets.
fn answer(call: impl FnOnce(&mut Option<Es>) -> Result<i32, Refusal>) -> i32 {
    PLUGIN.with_borrow_mut(|p| match call(&mut p.optimizer) {
        Ok(result) => result,
        Err(Refusal(code, why)) => {
            p.error = why;
            code
        }
    })
}

fn created(optimizer: &mut Option<Es>) -> Result<&mut Es, Refusal> {
    match optimizer {
        Some(o) => Ok(o),
        None => refuse(BAD_STATE, "there is no optimizer yet: create one"),
    }
}

/// Text as the host reads it: pointer in the high half, length in the low one.
fn lend(text: &str) -> u64 {
    (text.as_ptr() as u64) << 32 | text.len() as u64
}

/// The version of the interface, major<<16 | minor.
#[no_mangle]
pub extern "C" fn opt_abi_version() -> i32 {
    1 << 16
}

/// Says what the plugin is: JSON with name, version, wants_aux, max_dim and preferred_batch, where 0 stands for no limit and no
/// preference. Change the version with every change of the candidates: a recorded search resumes only with the one that began it.
#[no_mangle]
pub extern "C" fn opt_info() -> u64 {
    lend(r#"{"name":"es","version":"1","wants_aux":false,"max_dim":0,"preferred_batch":0}"#)
}

/// Why the last refused call was refused.
#[no_mangle]
pub extern "C" fn opt_last_error() -> u64 {
    PLUGIN.with_borrow(|p| lend(&p.error))
}

fn layout(n: usize) -> Option<Layout> {
    Layout::from_size_align(n.max(1), 8).ok()
}

/// Gives the host n bytes to write to; null if there are none.
#[no_mangle]
pub extern "C" fn opt_alloc(n: usize) -> *mut u8 {
    match layout(n) {
        Some(l) => unsafe { alloc(l) },
        None => std::ptr::null_mut(),
    }
}

/// # Safety
/// `p` is what `opt_alloc(n)` returned, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn opt_free(p: *mut u8, n: usize) {
    if let (false, Some(l)) = (p.is_null(), layout(n)) {
        dealloc(p, l);
    }
}

/// Makes the optimizer for the problem in n bytes of JSON. After a refusal it may be called again.
///
/// # Safety
/// `json` points to n bytes.
#[no_mangle]
pub unsafe extern "C" fn opt_create(json: *const u8, n: usize) -> i32 {
    answer(|optimizer| {
        if optimizer.is_some() {
            return refuse(
                BAD_STATE,
                "there is an optimizer already: an instance holds one",
            );
        }
        *optimizer = Some(Es::new(Config::read(slice::from_raw_parts(json, n))?));
        Ok(0)
    })
}

/// Writes at most k candidates to x and returns how many; 0 ends the search.
///
/// # Safety
/// `x` points to k·dim numbers.
#[no_mangle]
pub unsafe extern "C" fn opt_ask(x: *mut f64, k: i32) -> i32 {
    answer(|optimizer| {
        let o = created(optimizer)?;
        if k < 1 {
            return refuse(BAD_ARGUMENT, "k must be at least 1");
        }
        let n = o.room(k as usize)?;
        o.ask(slice::from_raw_parts_mut(x, n * o.dim()));
        Ok(n as i32)
    })
}

/// Takes the objectives f of k candidates x, asked ones or others; NaN is a failed evaluation. With wants_aux in `opt_info`, `_aux` would
/// be m log-probabilities of target tokens for each candidate, NaN where they are unknown.
///
/// # Safety
/// `x` points to k·dim numbers and `f` to k.
#[no_mangle]
pub unsafe extern "C" fn opt_tell(
    x: *const f64,
    f: *const f64,
    k: i32,
    _aux: *const f64,
    _m: i32,
) -> i32 {
    answer(|optimizer| {
        let o = created(optimizer)?;
        if k < 0 {
            return refuse(BAD_ARGUMENT, "k must be at least 0");
        }
        if k > 0 {
            let n = k as usize;
            o.tell(
                slice::from_raw_parts(x, n * o.dim()),
                slice::from_raw_parts(f, n),
            )?;
        }
        Ok(0)
    })
}

/// Writes the candidate to use to x and its objective to f: 1 if it was observed, 2 if it is predicted, 0 if there is none yet.
///
/// # Safety
/// `x` points to dim numbers and `f` to one.
#[no_mangle]
pub unsafe extern "C" fn opt_best(x: *mut f64, f: *mut f64) -> i32 {
    answer(|optimizer| {
        let o = created(optimizer)?;
        let Some((best, objective)) = o.best() else {
            return Ok(0);
        };
        slice::from_raw_parts_mut(x, best.len()).copy_from_slice(best);
        *f = objective;
        Ok(1)
    })
}
