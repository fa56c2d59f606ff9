//! Where networks train: the CPU, or a device that the program was built for.

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use std::fmt;
use std::str::FromStr;

/// The CPU, on which everything but training runs: results there do not depend on the machine.
pub fn cpu() -> Device {
    Device::flex()
}

/// A device as `--device` names it: a kind, and which of that kind where there are several (`cuda:1`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    kind: Kind,
    index: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    Wgpu,
    Cuda,
    Rocm,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Cpu, Kind::Wgpu, Kind::Cuda, Kind::Rocm];

    /// Also the cargo feature that the program must have been built with.
    fn name(self) -> &'static str {
        match self {
            Kind::Cpu => "cpu",
            Kind::Wgpu => "wgpu",
            Kind::Cuda => "cuda",
            Kind::Rocm => "rocm",
        }
    }

    /// All devices of this kind here; `None` where the program was built without them.
    fn devices(self) -> Option<Vec<Device>> {
        match self {
            Kind::Cpu => Some(vec![cpu()]),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu => Some(enumerate(burn::tensor::DeviceType::Wgpu)),
            #[cfg(feature = "cuda")]
            Kind::Cuda => Some(enumerate(burn::tensor::DeviceType::Cuda)),
            #[cfg(feature = "rocm")]
            Kind::Rocm => Some(enumerate(burn::tensor::DeviceType::Rocm)),
            #[allow(unreachable_patterns)] // with every feature
            _ => None,
        }
    }
}

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
fn enumerate(kind: burn::tensor::DeviceType) -> Vec<Device> {
    Device::enumerate(kind).into_iter().collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}:{index}", self.kind.name()),
            None => f.write_str(self.kind.name()),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index)),
            None => (text, None),
        };
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let index = index.map(|index| index.parse::<usize>()).transpose();
        match (kind, index) {
            (Some(kind), Ok(index)) => Ok(Place { kind, index }),
            _ => Err("a device is cpu, wgpu, cuda or rocm, and where there are several its number, as cuda:1".into()),
        }
    }
}

impl Place {
    /// The device.
    ///
    /// # Errors
    /// A program built without this kind of device, or a machine without this device.
    pub fn open(self) -> Result<Device> {
        let name = self.kind.name();
        let Some(devices) = self.kind.devices() else {
            bail!(
                "this program was built without {name}: cargo build --release -p sq-train --features {name} makes one \
                 that has it"
            );
        };
        ensure!(!devices.is_empty(), "no {name} device found on this machine");
        #[cfg(feature = "wgpu")]
        if self.kind == Kind::Wgpu && self.index.is_none() {
            // The adapter that wgpu takes for the strongest, or that CUBECL_WGPU_DEFAULT_DEVICE names.
            return Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice));
        }
        let found = devices.len();
        let device = devices.into_iter().nth(self.index.unwrap_or(0));
        device.with_context(|| format!("there is no {self} among {found} {name} devices, which count from 0"))
    }
}

/// What a device calls itself.
pub fn name(device: &Device) -> String {
    #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    match *device == cpu() {
        true => "the CPU".into(),
        false => format!("{device:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["cpu", "wgpu", "cuda:1", "rocm:0"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for text in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "1"] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_cpu_is_always_there_and_there_is_one() {
        let open = |text: &str| text.parse::<Place>().unwrap().open();
        assert_eq!(open("cpu").unwrap(), cpu());
        assert_eq!(
            open("cpu:1").unwrap_err().to_string(),
            "there is no cpu:1 among 1 cpu devices, which count from 0"
        );
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_in_names_the_feature() {
        let error = "cuda".parse::<Place>().unwrap().open().unwrap_err().to_string();
        assert!(error.contains("--features cuda"), "{error}");
    }
}
