-- aftercall-worker export --since 720h --format ndjson --output calls.ndjson
-- duckdb calls.duckdb < calls.sql

-- The types are given, because a column of which no call has a value would be missing otherwise.
CREATE OR REPLACE TABLE calls AS SELECT * FROM read_ndjson('calls.ndjson', columns = {
    placementId: 'VARCHAR', callId: 'VARCHAR', conversationId: 'VARCHAR', parentCallId: 'VARCHAR',
    agentId: 'VARCHAR', agentName: 'VARCHAR', agentPhoneNumberId: 'VARCHAR', direction: 'VARCHAR',
    channel: 'VARCHAR', fromNumber: 'VARCHAR', toNumber: 'VARCHAR', status: 'VARCHAR', outcome: 'VARCHAR',
    failureReason: 'VARCHAR', answeredBy: 'JSON', sipCode: 'VARCHAR', terminationReason: 'VARCHAR', callSuccessful: 'VARCHAR',
    summary: 'VARCHAR', startedAt: 'TIMESTAMPTZ', answeredAt: 'TIMESTAMPTZ', endedAt: 'TIMESTAMPTZ',
    durationSecs: 'BIGINT', cost: 'BIGINT', batchCallId: 'VARCHAR', batchCallRecipientId: 'VARCHAR',
    campaignId: 'VARCHAR', campaignLeadId: 'VARCHAR', dynamicVariables: 'JSON', placementMetadata: 'JSON',
    transcriptState: 'VARCHAR', recordingState: 'VARCHAR', audio: 'JSON', createdAt: 'TIMESTAMPTZ',
    statusUpdatedAt: 'TIMESTAMPTZ', updatedAt: 'TIMESTAMPTZ', revision: 'BIGINT'
});

-- For every other tool.
COPY calls TO 'calls.parquet' (FORMAT parquet);

-- Answer rate and cost of each agent by day.
SELECT agentId, createdAt::DATE AS day, count(*) AS calls,
    round(avg((outcome = 'answered')::INT), 3) AS answerRate,
    sum(durationSecs) / 60 AS minutes, sum(cost) AS cost
FROM calls GROUP BY ALL ORDER BY day, calls DESC;
