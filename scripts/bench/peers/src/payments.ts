import { ConditionalCheckFailedException, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient, PutCommand } from "@aws-sdk/lib-dynamodb";
import type { SQSRecord } from "aws-lambda";

const client = DynamoDBDocumentClient.from(new DynamoDBClient({}));

/** Stores a payment unless one is stored under its key. */
export async function store(record: SQSRecord): Promise<void> {
  const put = new PutCommand({
    TableName: process.env.REMIT_PAYMENTS_TABLE,
    Item: JSON.parse(record.body),
    ConditionExpression: "attribute_not_exists(paymentId)",
  });
  try {
    await client.send(put);
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
  }
}
