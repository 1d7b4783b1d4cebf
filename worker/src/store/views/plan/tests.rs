use super::*;

fn second(n: i64) -> Timestamp {
    Timestamp::from_second(n).unwrap()
}

fn cursor(n: i64) -> Cursor {
    Cursor { at: second(n), id: ObjectId::from_bytes([7; 12]) }
}

fn conditions(fields: &[&'static str]) -> Conditions {
    let mut conditions = Conditions::default();
    for field in fields {
        conditions.with(field, ["x"]);
    }
    conditions
}

fn rest(plan: &Plan) -> Vec<&str> {
    plan.rest.iter().map(|condition| condition.field).collect()
}

#[test]
fn every_list_has_a_plan_whose_index_it_can_use() {
    let fields: Vec<_> = INDEXES.iter().map(|index| index[0]).chain(["direction"]).collect();
    let pairs = fields.iter().flat_map(|a| fields.iter().map(move |b| [*a, *b]));
    for pair in pairs.filter(|[a, b]| a != b || *a == METADATA) {
        for plan in conditions(&pair).plans() {
            let query = plan.query(Range::default());
            let fields: Vec<_> = plan.index.keys().map(String::as_str).collect();
            let time = fields.iter().position(|field| *field == "createdAt").unwrap();
            assert!(fields[..time].iter().all(|field| query.contains_key(*field)), "{pair:?} {query}");
            let given = plan.bounds.iter().chain(&plan.rest).filter(|one| one.values == ["x".into()]);
            assert_eq!(given.count(), 2, "{query}");
        }
    }
}

#[test]
fn a_plan_without_further_conditions_is_the_only_one() {
    #[rustfmt::skip]
    let table: [(&[&str], &str, &[&str]); 8] = [
        (&[],                        "createdAt",     &[]),
        (&["status"],                "status",        &[]),
        (&["direction"],             "outcome",       &[]),
        (&["outcome", "direction"],  "outcome",       &[]),
        (&["outcome", "agentId"],    "agentId",       &[]),
        (&["status", "failureReason"], "failureReason", &[]),
        (&["status", "toNumber"],    "toNumber",      &["status"]),
        (&["agentId", "status"],     "agentId",       &["status"]),
    ];
    for (fields, first, left) in table {
        let plans = conditions(fields).plans();
        assert_eq!(plans[0].index.keys().next().unwrap(), first, "{fields:?}");
        assert_eq!(rest(&plans[0]), left, "{fields:?}");
        assert_eq!(plans.len() == 1, left.is_empty(), "{fields:?}: {plans:?}");
    }
}

#[test]
fn no_index_covers_a_length() {
    for fields in [&[][..], &["agentId"], &["agentId", "status"]] {
        let mut conditions = conditions(fields);
        let without = conditions.plans();
        conditions.length = Some(Length { from: 10, below: Some(60) });
        let plans = conditions.plans();
        assert!(plans.iter().all(|plan| !plan.is_exact()), "{plans:?}");
        assert_eq!(plans.len(), without.len(), "the same indexes");
        let query = plans[0].query(Range::default());
        let length = doc! { "durationSecs": { "$gte": 10_i64, "$lt": 60_i64 } };
        assert!(query.get_array("$and").unwrap().contains(&length.into()), "{query}");
        assert_eq!(plans[0].bounds(Range::default()), without[0].bounds(Range::default()));
        assert!(plans[0].rest_expression().to_string().contains("durationSecs"), "{plans:?}");
    }
}

#[test]
fn the_server_merges_at_most_200_scans() {
    let mut most = conditions(&[]);
    most.with("failureReason", (0..super::super::MAX_REASONS).map(|n| n.to_string()));
    for conditions in [most, conditions(&["direction"]), conditions(&["agentId"])] {
        let plan = &conditions.plans()[0];
        assert!(plan.scans() <= MAX_SCANS, "{plan:?}");
    }
    let mut agents = Conditions::default();
    agents.with("agentId", (0..20).map(|n| n.to_string()));
    assert_eq!(agents.plan_of_all().index, time_index());
}

#[test]
fn a_range_narrows_the_time_and_never_widens_it() {
    let bounds = |since, until, range| {
        let conditions = Conditions::created(since, until);
        let query = conditions.plans()[0].query(range);
        let created = query.get_document("createdAt").unwrap().clone();
        let second = |name: &str| created.get_datetime(name).ok().map(|at| at.timestamp_millis() / 1000);
        (second("$gte"), second("$lte"))
    };
    let from = |direction| Range { from: Some((cursor(50), direction)), ..Range::default() };
    let (since, until) = (Some(second(10)), Some(second(90)));
    assert_eq!(bounds(since, until, from(Direction::Older)), (Some(10), Some(50)));
    assert_eq!(bounds(since, until, from(Direction::Newer)), (Some(50), Some(90)));
    assert_eq!(bounds(None, Some(second(40)), from(Direction::Older)), (None, Some(40)));
    let part = Range { oldest: Some(cursor(20)), ..from(Direction::Older) };
    assert_eq!(bounds(since, until, part), (Some(20), Some(50)));
    assert_eq!(bounds(Some(second(30)), until, part), (Some(30), Some(50)));
    assert_eq!(
        bounds(since, until, from(Direction::Older).ending_at(Some(cursor(20)))),
        (Some(20), Some(50))
    );
    assert_eq!(
        bounds(since, until, from(Direction::Newer).ending_at(Some(cursor(70)))),
        (Some(50), Some(70))
    );
}

#[test]
fn conditions_and_positions_are_all_in_the_query() {
    let mut conditions = conditions(&["toNumber", "status"]);
    conditions.with(METADATA, ["a=1"]);
    let range = Range { from: Some((cursor(50), Direction::Older)), ..Range::default() };
    let range = range.ending_at(Some(cursor(20)));
    let query = conditions.plans()[0].query(range);
    assert_eq!(query.get_array("$and").unwrap().len(), 2, "{query}");
    assert_eq!(query.get_array("$nor").unwrap().len(), 2, "{query}");
    assert_eq!(query.get_str("toNumber").unwrap(), "x");
}
