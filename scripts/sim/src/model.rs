//! The protocol of the record path as a model, checked in every order of its steps.
//!
//! Three submissions share one key: a payment, the same payment from another request, and a conflict.
//! The queue delivers at least once, also while a delivery is still under way; any call can be
//! refused or lose its reply; a process can be killed between any two steps; an operator re-drives.
//! The simulator runs the real code on a sample of histories; the model runs none of it on all of them.

use stateright::{Checker, Model, Property};

/// What each submission says: the first two are the same payment.
const BODIES: [u8; 3] = [1, 1, 2];

/// Receives after which the queue gives a message up.
const RECEIVES_MAX: u8 = 2;

/// Deliveries under way at once.
const DELIVERIES_MAX: usize = 2;

/// The design, and three that are known to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Design {
    Ours,
    UnconditionalPut,
    AcknowledgeBeforeDeadLetter,
    DuplicateUnrecorded,
}

/// One delivery's next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    /// Store the payment unless one is stored.
    Put,
    /// Record the refusal of a conflict.
    Refuse,
    /// Record that another request stored the same payment.
    Repeat,
    /// The last permitted receive failed: send the dead letter.
    SendDeadLetter,
    /// Delete the message, and then take this step, which only a wrong design has.
    Acknowledge { then_send_dead_letter: bool },
}

/// A submission and where it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Submission {
    /// How often its message was received; `None` when there is no message on the queue.
    on_queue: Option<u8>,
    is_dead: bool,
    is_refused: bool,
    is_duplicate: bool,
    was_redriven: bool,
}

/// A delivery under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Delivery {
    /// The submission.
    who: usize,
    /// Whether the message is the copy that the operator sent.
    is_redriven: bool,
    /// Whether this is the last permitted receive.
    is_last: bool,
    /// What comes next.
    step: Step,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    submissions: [Submission; 3],
    /// Deliveries under way, sorted.
    deliveries: Vec<Delivery>,
    /// Whose payment is stored.
    stored: Option<usize>,
    /// Whether a stored payment was ever overwritten.
    is_overwritten: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    ReplyLost,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// The queue delivers a submission's message.
    Deliver(usize),
    /// The queue moves a message that was received too often.
    GiveUp(usize),
    /// A delivery takes its next step.
    Take(usize, Fate),
    /// The process of a delivery is killed.
    Kill(usize),
    /// The operator sends a dead letter back; one in a history is enough.
    Redrive(usize),
}

impl State {
    /// Takes the next step of a delivery.
    fn take(&mut self, design: Design, index: usize, fate: Fate) {
        let delivery = self.deliveries.remove(index);
        let who = delivery.who;
        let acknowledge = Step::Acknowledge { then_send_dead_letter: false };
        let mut after_put = acknowledge;
        match (delivery.step, fate) {
            (_, Fate::Refused) => {}
            (Step::Put, Fate::Works | Fate::ReplyLost) => {
                after_put = self.put(design, who).unwrap_or(acknowledge);
            }
            (Step::Repeat, Fate::Works | Fate::ReplyLost) => {
                self.submissions[who].is_duplicate = true;
            }
            (Step::Refuse, Fate::Works | Fate::ReplyLost) => {
                self.submissions[who].is_refused = true;
            }
            (Step::SendDeadLetter, Fate::Works | Fate::ReplyLost) => {
                self.submissions[who].is_dead = true;
            }
            (Step::Acknowledge { .. }, Fate::Works | Fate::ReplyLost) => {
                // A re-driven message has another id.
                if self.submissions[who].was_redriven == delivery.is_redriven {
                    self.submissions[who].on_queue = None;
                }
            }
        }
        let last_step = match design {
            Design::Ours | Design::UnconditionalPut | Design::DuplicateUnrecorded => {
                Step::SendDeadLetter
            }
            Design::AcknowledgeBeforeDeadLetter => {
                Step::Acknowledge { then_send_dead_letter: true }
            }
        };
        let next = match (delivery.step, fate) {
            (Step::Put, Fate::Works) => Some(after_put),
            (Step::Refuse | Step::Repeat | Step::SendDeadLetter, Fate::Works) => Some(acknowledge),
            (Step::Put | Step::Refuse | Step::Repeat, Fate::ReplyLost | Fate::Refused) => {
                delivery.is_last.then_some(last_step)
            }
            (Step::SendDeadLetter, Fate::ReplyLost | Fate::Refused) => None,
            (Step::Acknowledge { then_send_dead_letter }, _) => {
                then_send_dead_letter.then_some(Step::SendDeadLetter)
            }
        };
        if let Some(step) = next {
            self.deliveries.push(Delivery { step, ..delivery });
            self.deliveries.sort_unstable();
        }
    }

    /// Puts a payment; the step that must follow when another one is stored.
    fn put(&mut self, design: Design, who: usize) -> Option<Step> {
        let is_same = |stored: usize| BODIES[stored] == BODIES[who];
        match (self.stored, design) {
            (None, _) => {
                self.stored = Some(who);
                None
            }
            (Some(stored), Design::UnconditionalPut) => {
                self.is_overwritten |= !is_same(stored);
                self.stored = Some(who);
                None
            }
            (Some(stored), _) if stored == who => None,
            (Some(stored), Design::DuplicateUnrecorded) if is_same(stored) => None,
            (Some(stored), _) => Some(if is_same(stored) { Step::Repeat } else { Step::Refuse }),
        }
    }

    /// Whether whoever asks for this very submission learns what became of it.
    fn has_outcome(&self, who: usize) -> bool {
        let Submission { is_refused, is_duplicate, .. } = self.submissions[who];
        self.stored == Some(who) || is_refused || is_duplicate
    }

    fn is_at_rest(&self) -> bool {
        self.deliveries.is_empty() && self.submissions.iter().all(|one| one.on_queue.is_none())
    }
}

impl Model for Design {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let queued = Submission { on_queue: Some(0), ..Submission::default() };
        vec![State {
            submissions: [queued; 3],
            deliveries: Vec::new(),
            stored: None,
            is_overwritten: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (who, submission) in state.submissions.iter().enumerate() {
            match submission.on_queue {
                Some(RECEIVES_MAX) => actions.push(Action::GiveUp(who)),
                Some(_) if state.deliveries.len() < DELIVERIES_MAX => {
                    actions.push(Action::Deliver(who));
                }
                Some(_) | None => {}
            }
            let was_any_redriven = state.submissions.iter().any(|one| one.was_redriven);
            if submission.is_dead && !was_any_redriven && submission.on_queue.is_none() {
                actions.push(Action::Redrive(who));
            }
        }
        for delivery in 0..state.deliveries.len() {
            let fates = [Fate::Works, Fate::ReplyLost, Fate::Refused];
            actions.extend(fates.map(|fate| Action::Take(delivery, fate)));
            actions.push(Action::Kill(delivery));
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut state = state.clone();
        match action {
            Action::Deliver(who) => {
                let receives = state.submissions[who].on_queue? + 1;
                state.submissions[who].on_queue = Some(receives);
                state.deliveries.push(Delivery {
                    who,
                    is_redriven: state.submissions[who].was_redriven,
                    is_last: receives == RECEIVES_MAX,
                    step: Step::Put,
                });
                state.deliveries.sort_unstable();
            }
            Action::GiveUp(who) => {
                state.submissions[who].on_queue = None;
                state.submissions[who].is_dead = true;
            }
            Action::Take(delivery, fate) => state.take(*self, delivery, fate),
            Action::Kill(delivery) => drop(state.deliveries.remove(delivery)),
            Action::Redrive(who) => {
                let submission = &mut state.submissions[who];
                submission.is_dead = false;
                submission.was_redriven = true;
                submission.on_queue = Some(0);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing accepted is lost", |_, state: &State| {
                (0..BODIES.len()).all(|who| {
                    let submission = &state.submissions[who];
                    submission.on_queue.is_some() || submission.is_dead || state.has_outcome(who)
                })
            }),
            Property::always("a stored payment never changes", |_, state: &State| {
                !state.is_overwritten
            }),
            Property::always("only a conflict is refused, only the same repeated", |_, state| {
                let state: &State = state;
                let is_right = |who: usize, stored: usize| {
                    let Submission { is_refused, is_duplicate, .. } = state.submissions[who];
                    let is_same = BODIES[who] == BODIES[stored];
                    !(is_refused && is_same) && !(is_duplicate && (!is_same || who == stored))
                };
                let stored = state.stored;
                stored.is_none_or(|stored| (0..BODIES.len()).all(|who| is_right(who, stored)))
            }),
            Property::eventually("the queue drains", |_, state: &State| state.is_at_rest()),
            Property::sometimes("a conflict is refused", |_, state: &State| {
                state.is_at_rest() && state.submissions[2].is_refused
            }),
            Property::sometimes("what came second is stored first", |_, state: &State| {
                state.stored == Some(2) && state.submissions[0].is_refused
            }),
            Property::sometimes("a duplicate is on record", |_, state: &State| {
                state.is_at_rest() && state.submissions[1].is_duplicate
            }),
            Property::sometimes("a stored payment lies dead as well", |_, state: &State| {
                state.submissions[0].is_dead && state.has_outcome(0)
            }),
            Property::sometimes("a re-driven payment is stored", |_, state: &State| {
                state.is_at_rest() && state.submissions[0].was_redriven && state.has_outcome(0)
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stateright::HasDiscoveries;

    fn until(property: &'static str) -> HasDiscoveries {
        HasDiscoveries::AllOf(std::collections::BTreeSet::from([property]))
    }

    #[test]
    fn the_design_keeps_its_promises_in_every_order_of_steps() {
        let checker = Design::Ours.checker().threads(2).spawn_bfs().join();
        checker.assert_properties();
        assert!(checker.is_done() && checker.unique_state_count() > 100_000);
    }

    #[test]
    fn an_unconditional_put_overwrites_a_payment() {
        let broken = "a stored payment never changes";
        let checker =
            Design::UnconditionalPut.checker().finish_when(until(broken)).spawn_bfs().join();
        assert!(checker.discovery(broken).is_some());
    }

    #[test]
    fn an_acknowledgement_before_the_dead_letter_loses_a_payment() {
        let broken = "nothing accepted is lost";
        let design = Design::AcknowledgeBeforeDeadLetter;
        let checker = design.checker().finish_when(until(broken)).spawn_bfs().join();
        assert!(checker.discovery(broken).is_some());
    }

    #[test]
    fn a_duplicate_that_is_not_recorded_is_lost_to_whoever_asks_for_it() {
        let broken = "nothing accepted is lost";
        let design = Design::DuplicateUnrecorded;
        let checker = design.checker().finish_when(until(broken)).spawn_bfs().join();
        assert!(checker.discovery(broken).is_some());
    }
}
