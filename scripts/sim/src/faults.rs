//! What can go wrong, and how often in a history.

use std::fmt;

use fastrand::Rng;

macro_rules! kinds {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $meaning:literal])+ $kind:ident $words:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[doc = $meaning])+ $kind,)+ }

        impl $name {
            /// Every kind.
            pub const ALL: &[$name] = &[$($name::$kind),+];
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(match self { $($name::$kind => $words,)+ })
            }
        }
    };
}

kinds! {
    /// Where a fault strikes: at one of the calls of the record path, or elsewhere.
    Place {
        /// The conditional put of a payment.
        Put "put",
        /// The read of a payment that may be stored.
        Read "read",
        /// The put of a submission that is not the stored one.
        Record "record",
        /// The message to the dead-letter queue.
        DeadLetter "dead letter",
        /// The change of a message's visibility.
        Postpone "postpone",
        /// The queue, the clients, the operator or the process itself.
        Elsewhere "",
    }
}

kinds! {
    /// One kind of fault.
    Fault {
        /// The call is refused, with a random class of error.
        Refused "call refused",
        /// The call takes effect and its reply is lost.
        ReplyLost "reply lost",
        /// The call takes effect minutes later, when its caller has long gone.
        Late "effect late",
        /// The call takes longer than an invocation may.
        Slow "call slow",
        /// The call panics.
        Panic "panic",
        /// The process is killed at one of its awaits.
        Crash "process killed",
        /// The invocation has next to no time left.
        ShortDeadline "short deadline",
        /// A record of the batch arrives without an id.
        NamelessRecord "record without an id",
        /// A record of the batch arrives without its receive count.
        CountMissing "receive count missing",
        /// The queue does not hear that a message is done.
        AcknowledgementLost "acknowledgement lost",
        /// A message is delivered and stays visible.
        Duplicate "duplicate delivery",
        /// A message stands twice in one batch.
        TwiceInBatch "twice in a batch",
        /// A message becomes visible again while it is being processed.
        EarlyRedelivery "early redelivery",
        /// A receive is counted but reaches nobody.
        ReceiveThrottled "throttled receive",
        /// A message's put always fails, panics or hangs.
        Poison "poison message",
        /// An operator re-drives dead letters while payments are processed.
        Redrive "re-drive",
        /// A re-drive sends the copy and fails to delete the letter.
        RedriveTwice "re-drive twice",
        /// An operator throws a dead letter away.
        Discard "discard",
    }
}

/// How often each fault strikes, in a thousand. Every history draws its own rates, most of them zero:
/// faults that are always there together would hide what each of them alone can do.
#[derive(Debug, Clone)]
pub struct Rates(Vec<u32>);

impl Rates {
    /// No faults.
    #[must_use]
    pub fn calm() -> Rates {
        Rates(vec![0; Fault::ALL.len() * Place::ALL.len()])
    }

    /// The rates of one history.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Rates {
        let mut rates = Rates::calm();
        if rng.u32(0..10) == 0 {
            return rates;
        }
        for rate in &mut rates.0 {
            *rate = match rng.u32(0..100) {
                0..45 => 0,
                45..65 => 20,
                65..85 => 100,
                85..98 => 350,
                _ => 1000,
            };
        }
        rates
    }

    /// How often a fault strikes at a place, in a thousand.
    #[must_use]
    pub fn of(&self, fault: Fault, place: Place) -> u32 {
        self.0[fault as usize * Place::ALL.len() + place as usize]
    }
}

/// An implementation that is wrong on purpose: each must be found, or a check is asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The table's put has no condition.
    UnconditionalPut,
    /// The table's key is not the pair that it should be.
    KeyTooWide,
    /// A failed put is taken for a stored payment.
    ErrorSwallowed,
    /// The stored user is not the token's.
    OtherUserStored,
    /// A property is dropped on its way into the item.
    PropertyDropped,
    /// The dead letter is reported as sent and is not.
    DeadLetterForgotten,
    /// The dead letter's body is written anew.
    DeadLetterRewritten,
    /// An attribute is lost on the way to the dead-letter queue.
    AttributeDropped,
    /// The dead letter has no reason.
    ReasonMissing,
    /// The refusal is reported as recorded and is not.
    RefusalForgotten,
    /// A held record replaces a refusal.
    HeldReplacesRefusal,
    /// A refusal is recorded again by each invocation.
    RefusedAgain,
    /// A duplicate is reported as recorded and is not.
    DuplicateForgotten,
    /// A refusal is filed under no paymentId although its body names one.
    FiledUnderNothing,
    /// A letter is thrown away and nobody is told.
    DiscardedUnsaid,
    /// A stricter rule judges without asking whether the payment is stored.
    StoredJudged,
    /// A question about one submission is answered about its payment.
    AnsweredAboutAnother,
    /// The response acknowledges everything.
    EverythingAcknowledged,
    /// Every other record takes the first one's failure.
    NeighboursFail,
    /// The deadline is ignored.
    DeadlineIgnored,
    /// A postponed message never comes back.
    PostponedForever,
    /// The queue deletes what was received too often.
    QueueForgets,
}

impl Sabotage {
    /// Every sabotage, with the invariants of which one must be found broken.
    pub const ALL: &[(Sabotage, &[u8])] = &[
        (Sabotage::UnconditionalPut, &[3]),
        (Sabotage::KeyTooWide, &[2]),
        (Sabotage::ErrorSwallowed, &[8]),
        (Sabotage::OtherUserStored, &[5]),
        (Sabotage::PropertyDropped, &[4]),
        (Sabotage::DeadLetterForgotten, &[8, 12]),
        (Sabotage::DeadLetterRewritten, &[6]),
        (Sabotage::AttributeDropped, &[6]),
        (Sabotage::ReasonMissing, &[7]),
        (Sabotage::RefusalForgotten, &[8]),
        (Sabotage::HeldReplacesRefusal, &[8, 9, 12]),
        (Sabotage::RefusedAgain, &[9, 12]),
        (Sabotage::DuplicateForgotten, &[8]),
        (Sabotage::FiledUnderNothing, &[8, 12]),
        (Sabotage::DiscardedUnsaid, &[1]),
        (Sabotage::StoredJudged, &[12]),
        (Sabotage::AnsweredAboutAnother, &[1]),
        (Sabotage::EverythingAcknowledged, &[8]),
        (Sabotage::NeighboursFail, &[10]),
        (Sabotage::DeadlineIgnored, &[10]),
        (Sabotage::PostponedForever, &[13]),
        (Sabotage::QueueForgets, &[1]),
    ];
}
