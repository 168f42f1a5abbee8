//! What goes wrong by chance, out of the schedule's bytes.

/// A source of chance that repeats: the same bytes give the same run. Zero is always "all well".
#[derive(Clone, Debug)]
pub struct Chance {
    bytes: Vec<u8>,
    next: usize,
}

impl Chance {
    /// All chance from these bytes, over and over; without any, nothing ever goes wrong.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, next: 0 }
    }

    /// A number from 0 to 255; 0 when calm.
    fn byte(&mut self) -> u8 {
        let Some(byte) = self.bytes.get(self.next % self.bytes.len().max(1)) else {
            return 0;
        };
        self.next += 1;
        // Short lists of bytes do not repeat in step with what they are used for.
        if *byte == 0 {
            0
        } else {
            byte.rotate_left(u32::try_from(self.next / self.bytes.len() % 8).unwrap_or(0))
        }
    }

    /// Happens about `times` in 256.
    pub fn happens(&mut self, times: u8) -> bool {
        let byte = self.byte();
        byte != 0 && byte <= times
    }

    /// How old a picture is, in ticks: mostly 0, at most 3.
    pub fn age(&mut self) -> usize {
        match self.byte() {
            0..=159 => 0,
            160..=207 => 1,
            208..=239 => 2,
            _ => 3,
        }
    }

    /// From 1 to `most`.
    pub fn up_to(&mut self, most: usize) -> usize {
        1 + usize::from(self.byte()) % most
    }
}
