//! An agent's memory: live, with what it comes back by after a trap.

use phoenix_core::{Digest, KindPolicy};
use phoenix_host::Instance;

use crate::{Homes, Random};

pub(crate) struct Seat<'a> {
    homes: &'a Homes,
    at: usize,
    instance: Instance,
    /// The last checkpoint and what was committed since.
    image: Option<Vec<u8>>,
    frames: Vec<Vec<u8>>,
}

impl<'a> Seat<'a> {
    /// Memory as it is instantiated, or as an image has it.
    pub(crate) fn new(
        homes: &'a Homes,
        at: usize,
        image: Option<Vec<u8>>,
        policy: &KindPolicy,
    ) -> Self {
        let instance = made(homes, at, image.as_deref(), policy);
        Self {
            homes,
            at,
            instance,
            image,
            frames: Vec::new(),
        }
    }

    /// Puts a frame to the guest. What was done is undone by [`Seat::undo`], or kept.
    pub(crate) fn turns(&mut self, frame: &[u8]) -> Result<bytes::Bytes, String> {
        let deadline = std::time::Duration::from_secs(600);
        match self.instance.turns(frame, Some(deadline)) {
            Ok(answer) => Ok(answer.frame),
            Err(fault) => Err(fault.message),
        }
    }

    pub(crate) fn keep(&mut self, frame: Vec<u8>) {
        self.frames.push(frame);
    }

    /// Comes back from the last checkpoint.
    pub(crate) fn undo(&mut self, policy: &KindPolicy) {
        self.instance = made(self.homes, self.at, self.image.as_deref(), policy);
        for frame in &self.frames {
            self.instance.turns(frame, None).unwrap();
        }
    }

    pub(crate) fn hash(&mut self) -> Digest {
        self.instance.memory_hash()
    }

    /// Takes a checkpoint and goes on in place, or in another, here or there.
    pub(crate) fn checkpoint(&mut self, how: How, policy: &KindPolicy) -> Vec<u8> {
        let mut image = Vec::new();
        self.instance.snapshot(&mut image).unwrap();
        match how {
            How::Stay => {}
            How::Sleep => {
                self.instance = made(self.homes, self.at, Some(&image), policy);
            }
            How::Move => {
                self.at = 1 - self.at;
                self.instance = made(self.homes, self.at, Some(&image), policy);
            }
        }
        self.image = Some(image.clone());
        self.frames.clear();
        image
    }
}

/// How an agent goes on after a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// In the instance that it was taken of.
    Stay,
    /// In one made of the image on the same host.
    Sleep,
    /// On the other host.
    Move,
}

impl How {
    pub(crate) fn any(random: &mut Random) -> Self {
        [Self::Stay, Self::Sleep, Self::Move][random.below(3) as usize]
    }
}

fn made(homes: &Homes, at: usize, image: Option<&[u8]>, policy: &KindPolicy) -> Instance {
    let component = &homes.0[at];
    match image {
        Some(image) => component.restore(policy, image).unwrap(),
        None => component.instantiate(policy).unwrap(),
    }
}
