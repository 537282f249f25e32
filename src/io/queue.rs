//! A queue of bytes whose memory follows its length, however small the pieces were that came in.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Pieces below this are joined: a queue of single bytes must not cost forty bytes each.
const JOIN_BELOW: usize = 4 * 1024;

/// What joined pieces grow to, and what long slices are cut into: one SSH packet.
const BLOCK: usize = 60 * 1024;

/// First in, first out; long pieces are kept as they are, short ones are joined.
#[derive(Debug, Default)]
pub(crate) struct ByteQueue {
    blocks: VecDeque<Bytes>,
    /// The youngest bytes, still growing.
    tail: BytesMut,
    len: usize,
}

impl ByteQueue {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes that are owned already.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < JOIN_BELOW {
            return self.push_slice(&bytes);
        }
        self.len += bytes.len();
        self.seal_tail();
        self.blocks.push_back(bytes);
    }

    /// Appends a copy.
    pub(crate) fn push_slice(&mut self, mut slice: &[u8]) {
        self.len += slice.len();
        while !slice.is_empty() {
            if self.tail.is_empty() && slice.len() >= BLOCK {
                let (block, rest) = slice.split_at(BLOCK);
                self.blocks.push_back(Bytes::copy_from_slice(block));
                slice = rest;
                continue;
            }
            let (fits, rest) = slice.split_at(slice.len().min(BLOCK - self.tail.len()));
            self.tail.extend_from_slice(fits);
            slice = rest;
            if self.tail.len() == BLOCK {
                self.seal_tail();
            }
        }
    }

    /// Takes the oldest piece, at most `max` bytes of it. `None` when empty.
    pub(crate) fn pop(&mut self, max: usize) -> Option<Bytes> {
        let piece = match self.blocks.front_mut() {
            Some(block) if block.len() <= max => self.blocks.pop_front()?,
            Some(block) => block.split_to(max),
            None if self.tail.is_empty() => return None,
            // Most queues never hold more than this: they need no list.
            None => self.tail.split_to(self.tail.len().min(max)).freeze(),
        };
        self.len -= piece.len();
        if self.len == 0 {
            self.release();
        }
        Some(piece)
    }

    /// Moves the oldest pieces, at most `max` bytes, to the end of `other`. Returns how many bytes those were.
    pub(crate) fn move_to(&mut self, other: &mut Self, max: usize) -> usize {
        let mut moved = 0;
        while moved < max
            && let Some(piece) = self.pop(max - moved)
        {
            moved += piece.len();
            other.push(piece);
        }
        moved
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.blocks.push_back(self.tail.split().freeze());
        }
    }

    /// An idle stream keeps no buffers.
    fn release(&mut self) {
        self.tail = BytesMut::new();
        if self.blocks.capacity() > 16 {
            self.blocks = VecDeque::new();
        }
    }
}

/// For vectored writes straight out of the queue.
impl Buf for ByteQueue {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.blocks.front().map_or(&self.tail[..], |block| &block[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let tail = (!self.tail.is_empty()).then_some(&self.tail[..]);
        let pieces = self.blocks.iter().map(|block| &block[..]).chain(tail);
        slices.iter_mut().zip(pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.len, "the queue is shorter than that");
        let mut left = count;
        while left > 0
            && let Some(piece) = self.pop(left)
        {
            left -= piece.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drain(queue: &mut ByteQueue, max: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = queue.pop(max) {
            assert!(!piece.is_empty() && piece.len() <= max);
            all.extend_from_slice(&piece);
        }
        all
    }

    #[test]
    fn bytes_come_out_in_order_whatever_the_pieces() {
        for (step, max) in
            [(1, 7), (100, 64), (5_000, 65_536), (40_000, 32_768), (100_000, 1 << 20)]
        {
            let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i * 7 + i / 251) as u8).collect();
            let mut queue = ByteQueue::default();
            for (i, piece) in bytes.chunks(step).enumerate() {
                match i % 2 {
                    0 => queue.push_slice(piece),
                    _ => queue.push(Bytes::copy_from_slice(piece)),
                }
            }
            assert_eq!(queue.len(), bytes.len());
            assert_eq!(drain(&mut queue, max), bytes, "step {step}, max {max}");
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn what_is_written_from_the_queue_is_what_came_in() {
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i * 11 + i / 253) as u8).collect();
        for step in [7, 999, 61_440, 70_000] {
            let (mut queue, mut other) = (ByteQueue::default(), ByteQueue::default());
            bytes.chunks(10_007).for_each(|piece| queue.push_slice(piece));
            assert_eq!(queue.move_to(&mut other, 150_001), 150_001);
            assert_eq!(queue.move_to(&mut other, usize::MAX), 49_999);
            let mut written = Vec::new();
            while other.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 4];
                let count = other.chunks_vectored(&mut slices);
                assert_eq!(&*slices[0], other.chunk());
                let bytes = slices[..count].iter().flat_map(|slice| slice.iter().copied());
                let before = written.len();
                written.extend(bytes.take(step));
                let n = written.len() - before;
                other.advance(n);
            }
            assert_eq!(written, bytes, "step {step}");
        }
    }

    #[test]
    fn single_bytes_are_joined() {
        let mut queue = ByteQueue::default();
        for _ in 0..BLOCK * 4 {
            queue.push(Bytes::from_static(b"x"));
        }
        assert!(queue.blocks.len() <= 4, "{} blocks", queue.blocks.len());
    }

    /// What is done to a queue, and what a queue of single bytes makes of it.
    #[derive(Clone, Debug)]
    enum Step {
        Push(Vec<u8>),
        PushSlice(Vec<u8>),
        Pop(usize),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        // Around what is joined, and what is cut.
        let lengths = prop_oneof![
            0..64_usize,
            JOIN_BELOW - 2..JOIN_BELOW + 2,
            BLOCK - 2..BLOCK + 2,
            2 * BLOCK..2 * BLOCK + 2
        ];
        let bytes = (lengths.clone(), any::<u8>())
            .prop_map(|(length, first)| (0..length).map(|i| first.wrapping_add(i as u8)).collect());
        prop_oneof![
            3 => bytes.clone().prop_map(Step::Push),
            3 => bytes.prop_map(Step::PushSlice),
            5 => lengths.prop_map(|max| Step::Pop(max.max(1))),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 128, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn a_queue_of_pieces_is_a_queue_of_bytes(steps in prop::collection::vec(step(), 0..40)) {
            let mut queue = ByteQueue::default();
            let mut model = VecDeque::<u8>::new();
            for step in steps {
                match step {
                    Step::Push(bytes) => {
                        model.extend(&bytes);
                        queue.push(Bytes::from(bytes));
                    }
                    Step::PushSlice(bytes) => {
                        model.extend(&bytes);
                        queue.push_slice(&bytes);
                    }
                    Step::Pop(max) => match queue.pop(max) {
                        None => prop_assert!(model.is_empty()),
                        Some(piece) => {
                            prop_assert!((1..=max).contains(&piece.len()));
                            prop_assert!(piece.iter().copied().eq(model.drain(..piece.len())));
                        }
                    },
                    Step::Clear => {
                        model.clear();
                        queue.clear();
                    }
                }
                prop_assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                prop_assert!(queue.tail.len() < BLOCK);
            }
            let rest = drain(&mut queue, BLOCK);
            prop_assert!(rest.iter().eq(model.iter()));
        }
    }
}
