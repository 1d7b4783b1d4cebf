//! SQL over an export.

use mongodb::bson::doc;
use serde_json::{Value, json};

use super::recipe;
use crate::{
    export::{Stored, call, errors},
    harness::python,
};

/// Runs each statement of the recipe, and prints the result of the last one and the content of the Parquet file.
const RUN: &str = r"
import duckdb, json, os, sys
os.chdir(sys.argv[2])
database = duckdb.connect()
database.execute('SET TimeZone = \'UTC\'')
for statement in duckdb.extract_statements(open(sys.argv[1]).read()):
    result = database.execute(statement)
by_day = [[str(cell) for cell in row] for row in result.fetchall()]
count = lambda condition: database.execute(f'SELECT count(*) FROM \'calls.parquet\' WHERE {condition}').fetchone()[0]
types = dict((name, str(type)) for name, type, *_ in database.execute('DESCRIBE SELECT * FROM \'calls.parquet\'').fetchall())
csv = database.execute('SELECT count(*), sum(cost), count(failureReason) FROM \'calls.csv\'').fetchone()
print(json.dumps({
    'byDay': by_day, 'calls': count('true'), 'answered': count('outcome = \'answered\''), 'csv': [str(cell) for cell in csv],
    'variables': count('dynamicVariables ->> \'name\' = \'=1+1 \'\'quoted\'\'\''), 'createdAt': types['createdAt'],
}))
";

#[tokio::test]
async fn export_is_a_table_of_duckdb_and_a_parquet_file() {
    let stored = Stored::empty("recipe_sql").await;
    let mut calls: Vec<_> = (0..1000).map(call).collect();
    for (n, call) in calls.iter_mut().enumerate() {
        call.insert("cost", 100_i64);
        if n == 7 {
            call.insert("failureReason", "a \"quoted\", text;\r\nwith\nlines");
            call.insert("dynamicVariables", doc! { "name": "=1+1 'quoted'" });
        }
    }
    stored.insert(calls).await;
    let folder = tempfile::tempdir().unwrap();
    for (format, name) in [("ndjson", "calls.ndjson"), ("csv", "calls.csv")] {
        let file = folder.path().join(name);
        let output = stored.run(&["--format", format, "--output", file.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", errors(&output));
    }
    let args = [&recipe("calls.sql"), folder.path().to_str().unwrap()];
    let printed = python::run_with(&python::RECIPES, RUN, &args, &[]).await;
    let found: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(found["calls"], 1000, "{found}");
    assert_eq!(found["answered"], 250, "{found}");
    assert_eq!(found["csv"], json!(["1000", "100000", "1"]), "{found}");
    assert_eq!(
        (&found["variables"], &found["createdAt"]),
        (&json!(1), &json!("TIMESTAMP WITH TIME ZONE")),
        "{found}"
    );
    let by_day = found["byDay"].as_array().unwrap();
    assert_eq!(by_day.len(), 3, "three agents on one day: {found}");
    assert_eq!((&by_day[0][0], &by_day[0][1]), (&json!("agent_0"), &json!("2026-09-21")), "{found}");
}
