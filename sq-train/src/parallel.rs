//! The gradients of one batch over several devices: each takes a part, by a copy of the network of its own; the parts' gradients
//! are added up, each with its share of the images, on the first device, where the optimizer steps.
//!
//! Batch normalisation normalises every part by that part's own statistics, as is usual; the running statistics, and running
//! ranges of activations, are those of the first device's part.

use crate::nn::Net;
use anyhow::{Result, anyhow};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// What a part of a batch came to.
pub struct Part {
    /// Mean loss over its images.
    pub loss: f64,
    /// Scores, row after row.
    pub scores: Vec<f32>,
    /// Gradients of the mean loss.
    pub gradients: GradientsParams,
}

/// What a device is to do with its copy of the network.
pub type Job = Box<dyn FnOnce(&Net, &Device) -> Result<Part> + Send>;

/// A further device with a thread that serves it. One thread for all steps: GPU backends keep a queue, with memory of its
/// own, for every thread.
pub struct Worker {
    device: Device,
    jobs: Sender<(Net, Job)>,
    parts: Receiver<Result<Part>>,
}

impl Worker {
    /// Serves this device, which is a training device.
    pub fn new(device: Device) -> Worker {
        let ((jobs, inbox), (outbox, parts)) = (channel::<(Net, Job)>(), channel());
        let here = device.clone();
        // Ends with its `Worker`, which drops the sender.
        thread::spawn(move || {
            for (net, job) in inbox {
                if outbox.send(job(&net, &here)).is_err() {
                    return;
                }
            }
        });
        Worker { device, jobs, parts }
    }

    /// Begins `job` on a copy of `net`.
    ///
    /// # Errors
    /// A thread that has panicked.
    pub fn begin(&self, net: &Net, job: Job) -> Result<()> {
        // Off the training device and back: a plain clone would share the running statistics with `net`.
        let copy = net.valid().fork(&self.device.clone().without_autodiff()).train();
        self.jobs.send((copy, job)).map_err(|_| self.lost())
    }

    /// What the job that was begun came to.
    ///
    /// # Errors
    /// The job's own, or a thread that has panicked.
    pub fn end(&self) -> Result<Part> {
        self.parts.recv().map_err(|_| self.lost())?
    }

    fn lost(&self) -> anyhow::Error {
        anyhow!(
            "the thread of {} ended with an error",
            crate::device::name(&self.device)
        )
    }
}

/// The images of a batch for every device, as even as can be; fewer parts than devices where one would have less than two
/// images, which have no variance to normalise by.
pub fn shares(images: usize, devices: usize) -> Vec<Range<usize>> {
    let parts = devices.min(images / 2).max(1);
    (0..parts)
        .map(|i| i * images / parts..(i + 1) * images / parts)
        .collect()
}

/// Gradients of the mean over all images: those of every part, weighted by its share of the images, on `device`.
pub fn reduce(net: &Net, parts: Vec<(f32, GradientsParams)>, device: &Device) -> GradientsParams {
    struct Reduce<'a> {
        parts: Vec<(f32, GradientsParams)>,
        sum: GradientsParams,
        device: &'a Device,
    }
    impl ModuleVisitor for Reduce<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let device = self.device;
            let gradients = self.parts.iter_mut().filter_map(|(share, gradients)| {
                let gradient = gradients.remove::<D>(param.id)?;
                Some(gradient.mul_scalar(*share).to_device(device))
            });
            if let Some(sum) = gradients.reduce(|sum, gradient| sum + gradient) {
                self.sum.register(param.id, sum);
            }
        }
    }
    let mut reduce = Reduce {
        parts,
        sum: GradientsParams::new(),
        device,
    };
    net.visit(&mut reduce);
    reduce.sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_a_batch_and_none_is_a_single_image() {
        let ends = |images, devices| -> Vec<usize> {
            let mut past = 0;
            let check = |share: Range<usize>| {
                assert_eq!(std::mem::replace(&mut past, share.end), share.start);
                share.end
            };
            shares(images, devices).into_iter().map(check).collect()
        };
        assert_eq!(ends(7, 1), [7]);
        assert_eq!(ends(7, 2), [3, 7]);
        assert_eq!(ends(128, 3), [42, 85, 128]);
        assert_eq!(ends(5, 4), [2, 5]);
        assert_eq!(ends(2, 4), [2]);
        assert_eq!(ends(1, 2), [1]);
    }
}
