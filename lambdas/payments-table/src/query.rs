//! The reads: what is known of one payment. Every read names the user, so none can show a payment of
//! somebody else.

use aws_sdk_dynamodb::types::AttributeValue;

use crate::failure::{Failure, Operation};
use crate::item::{self, Item, PaymentItem};
use crate::record::{Record, key};
use crate::table::PaymentsTable;

impl PaymentsTable {
    /// The payment of a user, if it is stored. Strongly consistent: shows what was stored before.
    ///
    /// # Errors
    /// Every answer of the table but the item, or nothing, and an item that we cannot have written.
    pub async fn payment(
        &self,
        user_id: &str,
        payment_id: &str,
    ) -> Result<Option<PaymentItem>, Failure> {
        let get = self.client.get_item().table_name(&self.payments).consistent_read(true);
        let get = get.set_key(Some(key_of(user_id, payment_id)));
        let got = get.send().await;
        let got = got.map_err(|error| Failure::of(Operation::ReadPayment, &error))?;
        got.item.map(item::read_item).transpose()
    }

    /// What is on record of one request of a user; `payment_id` is `None` where the body had none that
    /// could be read. Strongly consistent.
    ///
    /// # Errors
    /// As [`PaymentsTable::payment`].
    pub async fn record_of(
        &self,
        user_id: &str,
        payment_id: Option<&str>,
        request_id: &str,
    ) -> Result<Option<Record>, Failure> {
        let get = self.client.get_item().table_name(&self.refusals).consistent_read(true);
        let get = get
            .key("userId", text(user_id))
            .key("paymentId#requestId", text(&key(payment_id, request_id)));
        let got = get.send().await;
        let got = got.map_err(|error| Failure::of(Operation::ReadRecords, &error))?;
        got.item.map(Record::read).transpose()
    }
}

fn key_of(user_id: &str, payment_id: &str) -> Item {
    [("paymentId", payment_id), ("userId", user_id)]
        .map(|(name, value)| (name.to_owned(), text(value)))
        .into()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}
