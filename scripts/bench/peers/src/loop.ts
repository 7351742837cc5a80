import type { SQSBatchItemFailure, SQSHandler } from "aws-lambda";
import { store } from "./payments.js";
import { serve } from "./runtime.js";

/** One payment after another. */
const handler = (async (event) => {
  const batchItemFailures: SQSBatchItemFailure[] = [];
  for (const record of event.Records) {
    try {
      await store(record);
    } catch (error) {
      console.error(error);
      batchItemFailures.push({ itemIdentifier: record.messageId });
    }
  }
  return { batchItemFailures };
}) satisfies SQSHandler;

serve(handler);
