//! Runs a generated crate, known here as `model`, on the samples of a file.
//!
//! Reads `samples.bin` and writes `results.bin` in the working directory, both raw little-endian elements, and `stack.bin`: the
//! bytes of stack that the last inference took, as a u32. Without an operating system it goes through semihosting and counts on
//! the emulator to have loaded `.data` and cleared `.bss`. The inference stands between two marks that processors ignore and an
//! instruction counter sees.
//!
//! With an operating system, a file `rounds.bin` (a number as a u32) makes it time the last sample as well: so many rounds of
//! calls, each of 5 ms or more, into `times.bin`: nanoseconds of one call, a round each, as f64.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(warnings)]

#[cfg(not(target_arch = "wasm32"))]
use core::arch::asm;
#[cfg(not(target_os = "none"))]
use core::hint::black_box;

/// Bytes of stack below `main` that are watched: kernels that keep a tile of sums in registers spill some KB on hosts.
const WATCHED: usize = if cfg!(target_os = "none") { 4096 } else { 65536 };
const PAINT: u32 = 0xA5C3_5A3C;

/// An element of a sample or a result.
trait Element: Copy + Default {
    const BYTES: usize;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, bytes: &mut [u8]);
}

macro_rules! elements {
    ($($ty:ty)*) => { $(
        impl Element for $ty {
            const BYTES: usize = size_of::<$ty>();
            fn read(bytes: &[u8]) -> Self {
                let mut raw = [0; size_of::<$ty>()];
                raw.copy_from_slice(bytes);
                <$ty>::from_le_bytes(raw)
            }
            fn write(self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_le_bytes());
            }
        }
    )* };
}

elements!(u8 i8 u32 i32 f32);

/// A network: how to run it.
type Infer<A, I, O, const N: usize, const M: usize> = fn(&mut A, &[I; N], &mut [O; M]);

fn run<A, I: Element, O: Element, const N: usize, const M: usize>(arena: &mut A, infer: Infer<A, I, O, N, M>) {
    let (mut sample, mut result) = ([I::default(); N], [O::default(); M]);
    let mut samples = io::open(c"samples.bin", false);
    let mut results = io::open(c"results.bin", true);
    let mut taken = 0;
    while sample.iter_mut().all(|x| {
        let mut raw = [0; 4];
        let whole = io::read(&mut samples, &mut raw[..I::BYTES]);
        *x = I::read(&raw[..I::BYTES]);
        whole
    }) {
        taken = watched(|| infer(arena, &sample, &mut result));
        for x in result {
            let mut raw = [0; 4];
            x.write(&mut raw[..O::BYTES]);
            io::write(&mut results, &raw[..O::BYTES]);
        }
    }
    io::write(&mut io::open(c"stack.bin", true), &taken.to_le_bytes());
    #[cfg(not(target_os = "none"))]
    time::rounds(|| infer(arena, black_box(&sample), black_box(&mut result)));
}

/// Bytes of stack that `work` takes, found by painting what lies below and looking for the lowest change.
#[inline(never)]
fn watched(work: impl FnOnce()) -> u32 {
    let top: usize;
    // SAFETY: reads a register.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("mov {}, rsp", out(reg) top);
    }
    // SAFETY: reads a register.
    #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
    unsafe {
        asm!("mov {}, sp", out(reg) top);
    }
    // The stack in memory, where variables lie whose address is taken.
    #[cfg(target_arch = "wasm32")]
    let here = 0u8;
    #[cfg(target_arch = "wasm32")]
    {
        top = &raw const *black_box(&here) as usize;
    }
    // SAFETY: reads a register.
    #[cfg(target_arch = "riscv32")]
    unsafe {
        asm!("mv {}, sp", out(reg) top);
    }
    let bottom = (top - WATCHED).max(stack_limit()).next_multiple_of(4);
    // A red zone of 128 bytes below the stack pointer may be in use.
    let end = (top - 128) & !3;
    for at in (bottom..end).step_by(4) {
        // SAFETY: below the stack pointer and its red zone nothing lives; the memory belongs to the stack.
        unsafe { (at as *mut u32).write_volatile(PAINT) };
    }
    mark_begin();
    work();
    mark_end();
    let lowest = (bottom..end).step_by(4).find(|&at| {
        // SAFETY: as above, and painted before.
        unsafe { (at as *const u32).read_volatile() != PAINT }
    });
    (top - lowest.unwrap_or(end)) as u32
}

/// Where the stack of a board ends at the latest: its RAM may hold less than what is watched.
fn stack_limit() -> usize {
    #[cfg(target_os = "none")]
    {
        unsafe extern "C" {
            static variables_end: u8;
        }
        &raw const variables_end as usize
    }
    #[cfg(not(target_os = "none"))]
    0
}

macro_rules! mark {
    ($name:ident $thumb:literal $a32:literal $aarch64:literal $riscv:literal) => {
        #[inline(always)]
        fn $name() {
            // SAFETY: a hint without effect.
            #[cfg(all(target_arch = "arm", target_os = "none"))]
            unsafe {
                asm!($thumb);
            }
            // SAFETY: a hint without effect.
            #[cfg(all(target_arch = "arm", not(target_os = "none")))]
            unsafe {
                asm!($a32);
            }
            // SAFETY: a hint without effect.
            #[cfg(target_arch = "aarch64")]
            unsafe {
                asm!($aarch64);
            }
            // SAFETY: an instruction without effect.
            #[cfg(target_arch = "riscv32")]
            unsafe {
                asm!($riscv);
            }
        }
    };
}

// Aligned, with a nop behind: QEMU 7.2 does not show a plugin the last instruction before one that crosses a page (of 1 KB on
// Cortex-M).
mark!(mark_begin ".balign 8\n.inst.n 0xbfa0\nnop" ".inst 0xe320f0a0" "hint #0x70" ".balign 8\n.word 0x51002013\nnop");
mark!(mark_end ".balign 8\n.inst.n 0xbfb0\nnop" ".inst 0xe320f0a1" "hint #0x71" ".balign 8\n.word 0x51102013\nnop");

#[cfg(not(target_os = "none"))]
mod time {
    use std::fs;
    use std::time::{Duration, Instant};

    const ROUND: Duration = Duration::from_millis(5);

    /// Times `call`, if there is a file that says how many rounds.
    pub fn rounds(mut call: impl FnMut()) {
        let rounds = fs::read("rounds.bin").unwrap_or_default();
        let Some(rounds) = rounds.first_chunk().map(|raw| u32::from_le_bytes(*raw)) else { return };
        let mut round = |calls: u32| {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed()
        };
        let mut calls = 1;
        while round(calls) < ROUND {
            calls *= 2;
        }
        let times = (0..rounds).flat_map(|_| (round(calls).as_nanos() as f64 / f64::from(calls)).to_le_bytes());
        fs::write("times.bin", times.collect::<Vec<u8>>()).expect("times");
    }
}

#[cfg(not(target_os = "none"))]
mod io {
    use std::ffi::CStr;
    use std::fs::File;
    use std::io::{BufReader, BufWriter, Read, Write};

    pub enum Handle {
        In(BufReader<File>),
        Out(BufWriter<File>),
    }

    pub fn open(name: &CStr, new: bool) -> Handle {
        let name = name.to_str().expect("a plain name");
        match new {
            true => Handle::Out(BufWriter::new(File::create(name).expect("results"))),
            false => Handle::In(BufReader::new(File::open(name).expect("samples"))),
        }
    }

    /// Whether `bytes` could be filled.
    pub fn read(file: &mut Handle, bytes: &mut [u8]) -> bool {
        match file {
            Handle::In(f) => f.read_exact(bytes).is_ok(),
            Handle::Out(_) => false,
        }
    }

    pub fn write(file: &mut Handle, bytes: &[u8]) {
        if let Handle::Out(f) = file {
            f.write_all(bytes).expect("results");
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() {
    run(&mut model::Arena::new(), model::infer);
}

#[cfg(target_os = "none")]
mod io {
    use core::arch::asm;
    use core::ffi::CStr;

    pub struct Handle(usize);

    /// Semihosting of Arm: an operation and the address of its arguments (Arm IHI 0022, "Semihosting for AArch32").
    #[cfg(target_arch = "arm")]
    fn call(operation: usize, arguments: &[usize]) -> usize {
        let mut answer = operation;
        // SAFETY: the emulator reads the arguments and what they point to.
        unsafe { asm!("bkpt #0xab", inout("r0") answer, in("r1") arguments.as_ptr()) };
        answer
    }

    /// RISC-V has the operations of Arm. The two shifts around the uncompressed break tell it from a debugger's; the three lie in
    /// one page.
    #[cfg(target_arch = "riscv32")]
    fn call(operation: usize, arguments: &[usize]) -> usize {
        let mut answer = operation;
        // SAFETY: the emulator reads the arguments and what they point to.
        unsafe {
            asm!(
                ".option push",
                ".option norvc",
                ".balign 16",
                "slli x0, x0, 0x1f",
                "ebreak",
                "srai x0, x0, 7",
                ".option pop",
                inout("a0") answer,
                in("a1") arguments.as_ptr(),
            );
        }
        answer
    }

    pub fn open(name: &CStr, new: bool) -> Handle {
        let mode = if new { 5 } else { 1 }; // "wb", "rb"
        let handle = call(0x01, &[name.as_ptr() as usize, mode, name.count_bytes()]);
        if handle == usize::MAX {
            exit(2);
        }
        Handle(handle)
    }

    /// Whether `bytes` could be filled.
    pub fn read(file: &mut Handle, bytes: &mut [u8]) -> bool {
        call(0x06, &[file.0, bytes.as_mut_ptr() as usize, bytes.len()]) == 0
    }

    pub fn write(file: &mut Handle, bytes: &[u8]) {
        if call(0x05, &[file.0, bytes.as_ptr() as usize, bytes.len()]) != 0 {
            exit(3);
        }
    }

    pub fn exit(code: usize) -> ! {
        const APPLICATION_EXIT: usize = 0x20026;
        call(0x20, &[APPLICATION_EXIT, code]);
        loop {}
    }
}

#[cfg(all(target_os = "none", target_arch = "arm"))]
mod start {
    use super::{io, model_main};

    unsafe extern "C" {
        static stack_top: u32;
    }

    /// Initial stack pointer, reset, and the faults.
    #[repr(C)]
    pub struct Vectors(*const u32, [extern "C" fn() -> !; 15]);

    // SAFETY: never written.
    unsafe impl Sync for Vectors {}

    // SAFETY: the linker script puts it where the processor looks for it.
    #[unsafe(link_section = ".vectors")]
    #[unsafe(no_mangle)]
    pub static VECTORS: Vectors = Vectors(
        &raw const stack_top,
        [
            reset, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault,
        ],
    );

    extern "C" fn reset() -> ! {
        // SAFETY: enables the coprocessors of the FPU (Armv7-M ARM, B3.2.20); other cores ignore the write.
        unsafe { (0xE000_ED88 as *mut u32).write_volatile(0xF << 20) };
        model_main();
        io::exit(0)
    }

    extern "C" fn fault() -> ! {
        io::exit(99)
    }
}

#[cfg(all(target_os = "none", target_arch = "riscv32"))]
mod start {
    use super::{io, model_main};
    use core::arch::global_asm;

    // First of all a stack, and what catches faults: the processor wants the address of a handler to be a multiple of 4.
    global_asm!(
        ".pushsection .start, \"ax\"",
        ".option arch, +zicsr",
        "la sp, stack_top",
        "la t0, 1f",
        "csrw mtvec, t0",
        "j {reset}",
        ".balign 4",
        "1: j {fault}",
        ".popsection",
        reset = sym reset,
        fault = sym fault,
    );

    extern "C" fn reset() -> ! {
        model_main();
        io::exit(0)
    }

    extern "C" fn fault() -> ! {
        io::exit(99)
    }
}

#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    io::exit(98)
}

#[cfg(target_os = "none")]
#[inline(never)]
fn model_main() {
    run(&mut model::Arena::new(), model::infer);
}
