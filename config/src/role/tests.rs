//! Whole files: good ones, and tables of bad ones with the exact place of every problem.

use std::time::Duration;

use super::*;

const GATEWAY: &str = "role: gateway\nid: eu-1\nregion: eu\n";
const ROUTER: &str = "role: router\ndata: /var/lib/roost\n";
const BACKEND: &str = "role: backend\ndata: /var/lib/roost\n";

fn problems(text: &str) -> String {
    Settings::read("f.yaml", text).unwrap_err().to_string()
}

#[test]
fn the_shortest_files_have_every_default() {
    let gateway = GatewaySettings::new("eu-1".parse().unwrap(), "eu".parse().unwrap());
    assert_eq!(Settings::read("f", GATEWAY), Ok(Settings::Gateway(Box::new(gateway))));
    assert_eq!(
        Settings::read("f", ROUTER),
        Ok(Settings::Router(RouterSettings::new("/var/lib/roost".into())))
    );
    let backend = BackendSettings::new("/var/lib/roost".into());
    assert_eq!(Settings::read("f", BACKEND), Ok(Settings::Backend(backend)));
}

#[test]
fn what_is_written_is_what_is_meant() {
    let text = "role: gateway\nid: us-2\nregion: us\nlisten: '0.0.0.0:1883'\nmesh: {heartbeat_s: 1, lease_s: 4}\n\
        uplink: {rules: [{filter: 'a/#', exchange: mine}], except: []}\nshutdown_grace_s: 5\n";
    let Ok(Settings::Gateway(settings)) = Settings::read("f", text) else { panic!("{}", problems(text)) };
    assert_eq!(settings.listen, "0.0.0.0:1883".parse().unwrap());
    assert_eq!(
        (settings.mesh.heartbeat, settings.mesh.lease),
        (Duration::from_secs(1), Duration::from_secs(4))
    );
    assert_eq!(settings.uplink.rules.len(), 1);
    assert_eq!(settings.uplink.rules[0].exchange, "mine");
    assert!(settings.uplink.except.is_empty());
    assert_eq!(settings.shutdown_grace, Duration::from_secs(5));
    let text = format!("{GATEWAY}fanout: {{prefixes: [broadcast/, fleet/eu/]}}\n");
    let Ok(Settings::Gateway(settings)) = Settings::read("f", &text) else { panic!("{}", problems(&text)) };
    let prefixes: Vec<_> = settings.fanout.prefixes.iter().map(|prefix| prefix.as_str()).collect();
    assert_eq!(prefixes, ["broadcast/", "fleet/eu/"]);
    let text = format!("{ROUTER}tracing: {{ otlp: 'http://127.0.0.1:4318', sample: 1 }}\n");
    let Ok(Settings::Router(settings)) = Settings::read("f", &text) else { panic!("{}", problems(&text)) };
    let tracing = settings.tracing.unwrap();
    assert_eq!((&*tracing.otlp, tracing.sample), ("http://127.0.0.1:4318", roost_wire::SampleRatio::ALL));
}

/// Each is one mistake in an otherwise good file.
#[test]
fn every_mistake_is_found_where_it_is() {
    let in_gateway = [
        ("lisen: 127.0.0.1:1\n", r#"f.yaml:4:1: unknown key "lisen"; did you mean "listen"?"#),
        ("listen: 1883\n", "f.yaml:4:9: listen: expected text, found a number; put it in quotes"),
        (
            "admin: 0.0.0.0:8081\n",
            "f.yaml:4:8: admin: 0.0.0.0:8081 is not loopback; HTTP asks for no token yet, so only 127.0.0.1 and [::1] are allowed",
        ),
        ("tracing: {sample: 1.5}\n", "f.yaml:4:19: sample: 1.5 is not from 0 to 1"),
        ("tracing: {sample: all}\n", "f.yaml:4:19: sample: expected a number from 0 to 1, found text"),
        (
            "tracing:\n  otlp: localhost:4318\n",
            r#"f.yaml:5:9: otlp: "localhost:4318" is not http://HOST:PORT, for example http://127.0.0.1:4318"#,
        ),
        ("tracing: {ottlp: x}\n", r#"f.yaml:4:11: unknown key "ottlp"; did you mean "otlp"?"#),
        ("admin: 127.0.0.1:1883\n", "f.yaml:4:8: admin: 127.0.0.1:1883 is where MQTT listens already"),
        (
            "amqp: amqps://u:secret@h\n",
            "f.yaml:4:7: amqp: amqps:// is not supported yet: TLS to the cluster comes with a later version; use amqp:// on a private network",
        ),
        ("limits:\n  receive_maximum: 0\n", "f.yaml:5:20: receive_maximum: 0 is not in 1 to 65535"),
        ("limits: {topic_alias_maximum: 256}\n", "f.yaml:4:31: topic_alias_maximum: 256 is not in 0 to 255"),
        (
            "limits: {packet_bytes_max: 2097152}\n",
            "f.yaml:4:9: session_queue_bytes_max: 1048576 is less than packet_bytes_max, 2097152: the largest packet would never fit",
        ),
        ("threads: 0\n", "f.yaml:4:10: threads: 0 is not in 1 to 64"),
        ("threads: many\n", "f.yaml:4:10: threads: expected auto or a whole number, found text"),
        ("limits: 7\n", "f.yaml:4:9: expected keys with values, found a number"),
        (
            "mesh:\n  heartbeat_s: 4\n  lease_s: 7\n",
            "f.yaml:6:12: lease_s: 7 is less than twice heartbeat_s, 4: one lost heartbeat would end the lease",
        ),
        (
            "answer_topic: devices/answer\n",
            r#"f.yaml:4:15: answer_topic: "devices/answer" is no topic for answers: {device} does not stand in it"#,
        ),
        (
            "response_information: answers/x{device}\n",
            r#"f.yaml:4:23: response_information: "answers/x{device}" is no beginning of response topics: {device} has to be one whole level"#,
        ),
        ("mesh: {shards: 2}\n", "f.yaml:4:16: shards: 2 is not in 1 to 1"),
        (
            "uplink:\n  rules:\n    - filter: a/#/b\n",
            r##"f.yaml:6:15: filter: topic "a/#/b" has a wildcard where none may stand, in level "#""##,
        ),
        (
            "uplink:\n  rules:\n    - {filter: a, exchange: roost.mesh}\n",
            "f.yaml:6:29: exchange: roost.mesh is the mesh's own; events go to roost.up or an exchange of yours",
        ),
        (
            "uplink:\n  rules:\n    - {filter: a, acknowledge: spooled}\n",
            "f.yaml:1:1: data: a rule says `acknowledge: spooled`, which needs a directory",
        ),
        ("sessions: {store: disk}\n", "f.yaml:1:1: data: `sessions: store: disk` needs a directory"),
        ("sessions: {store: tape}\n", r#"f.yaml:4:19: store: "tape" is not one of memory, disk"#),
        (
            "uplink:\n  rules:\n    - {filter: a, order: fresh}\n",
            "f.yaml:6:26: order: only what is spooled has a backlog to overtake: it needs acknowledge: spooled",
        ),
        (
            "fanout:\n  prefixes: [a/, broadcast]\n",
            r#"f.yaml:5:18: prefix "broadcast" does not end with /: it is made of whole levels"#,
        ),
        (
            "fanout: {prefixes: [a/, a/b/]}\n",
            "f.yaml:4:25: a/b/ and a/ cover the same topics: leave one of them out",
        ),
        (
            "fanout: {prefixes: [a/, a/]}\n",
            "f.yaml:4:25: a/ and a/ cover the same topics: leave one of them out",
        ),
        ("fanout: {prefixes: a/}\n", "f.yaml:4:20: prefixes: expected a list, found text"),
        ("sys_interval_s: 4000\n", "f.yaml:4:17: sys_interval_s: 4000 is not in 0 to 3600"),
        ("spool: {bytes_max: 1000}\n", "f.yaml:4:20: bytes_max: 1000 is not in 1048576 to 17592186044416"),
        (
            "uplink:\n  rules:\n    - {filter: a, order: soon}\n",
            r#"f.yaml:6:26: order: "soon" is not one of strict, fresh"#,
        ),
        ("uplink:\n  rules:\n    - exchange: x\n", "f.yaml:6:7: filter is missing; it has no default"),
        (
            "uplink:\n  except: [$share/g/a]\n",
            "f.yaml:5:12: $share/g/a is a shared subscription; a rule needs a plain filter",
        ),
    ];
    for (mistake, expected) in in_gateway {
        assert_eq!(problems(&format!("{GATEWAY}{mistake}")), expected);
    }
    let in_router = [
        ("mailbox:\n  commands: 5\n", r#"f.yaml:4:3: unknown key "commands"; did you mean "commands_max"?"#),
        ("lifetime: {default_s: 100, max_s: 50}\n", "f.yaml:3:23: default_s: 100 is more than max_s, 50"),
        ("lifetime: {max_s: 604801}\n", "f.yaml:3:19: max_s: 604801 is not in 1 to 604800"),
        ("lease_s: 10s\n", "f.yaml:3:10: lease_s: expected a whole number, found text"),
        ("lease_s: 2.5\n", "f.yaml:3:10: lease_s: expected a whole number, found a number"),
    ];
    for (mistake, expected) in in_router {
        assert_eq!(problems(&format!("{ROUTER}{mistake}")), expected);
    }
    let in_backend = [
        (
            "listen: 0.0.0.0:5672\n",
            "f.yaml:3:9: listen: 0.0.0.0:5672 is not loopback, and everybody knows the password of guest; name other users",
        ),
        ("users: []\n", "f.yaml:3:8: users: 0 entries, 1 to 1000 are allowed"),
        (
            "users:\n  - {name: a, password: x}\n  - {name: a, password: y}\n",
            "f.yaml:5:12: name: another user has this name already",
        ),
        ("users:\n  - name: a\n", "f.yaml:4:5: password is missing; it has no default"),
    ];
    for (mistake, expected) in in_backend {
        assert_eq!(problems(&format!("{BACKEND}{mistake}")), expected);
    }
}

#[test]
fn all_mistakes_of_a_file_are_said_at_once_in_its_order() {
    let text =
        "role: gateway\nid: EU\nregion: eu\nregion: us\nlimits:\n  packet_bytes: 5\nadmin: 1.2.3.4:80\n";
    let expected = "f.yaml:2:5: id: gateway id \"EU\" has 'E' in it; allowed are a-z, 0-9 and -\n\
        f.yaml:4:1: duplicate mapping key: region not allowed here\n\
        f.yaml:6:3: unknown key \"packet_bytes\"; did you mean \"packet_bytes_max\"?\n\
        f.yaml:7:8: admin: 1.2.3.4:80 is not loopback; HTTP asks for no token yet, so only 127.0.0.1 and [::1] are allowed";
    assert_eq!(problems(text), expected);
}

#[test]
fn a_file_says_its_role() {
    let missing = "role: is missing; it says what else may be here, and is gateway, router or backend";
    assert_eq!(problems(""), format!("f.yaml:1:1: {missing}"));
    assert_eq!(
        problems("# x\nid: eu-1\nno_such: 2\n"),
        format!("f.yaml:2:1: {missing} (not checked: id, no_such)")
    );
    assert_eq!(
        problems("role: gate\n"),
        r#"f.yaml:1:7: role: "gate" is not one of gateway, router, backend"#
    );
    let a_list = format!("f.yaml:1:1: expected keys with values, found a list\nf.yaml:1:1: {missing}");
    assert_eq!(problems("- a\n"), a_list);
    let error =
        Settings::read_as("f.yaml", "data: /d\nno_such: 1\n", Some(Role::Router)).unwrap_err().to_string();
    assert!(
        error.starts_with("f.yaml:1:1: role: is missing; write `role: router`\nf.yaml:2:1: unknown key"),
        "{error}"
    );
    let error = Settings::read_as("f.yaml", ROUTER, Some(Role::Gateway)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "f.yaml:1:7: role: this is the file of a router, and `roost gateway` reads one of a gateway"
    );
}

#[test]
fn secrets_do_not_print() {
    let text = format!("{GATEWAY}amqp: amqp://me:hunter2@host\n");
    let shown = format!("{:?}", Settings::read("f", &text).unwrap());
    assert!(shown.contains("amqp://me:***@host") && !shown.contains("hunter2"), "{shown}");
    let text = format!("{BACKEND}users: [{{name: me, password: hunter2}}]\n");
    let shown = format!("{:?}", Settings::read("f", &text).unwrap());
    assert!(shown.contains("\"me\"") && !shown.contains("hunter2"), "{shown}");
    for wrong in [
        "amqp: amqp://me:hunter2@\n",
        "amqp: amqps://me:hunter2@h\n",
        "amqp: amqp://me:hunter2@h:0\n",
        "amqp: amqp://me:hunter2\n",
    ] {
        assert!(!problems(&format!("{GATEWAY}{wrong}")).contains("hunter2"));
    }
}

const GATEWAY_EXAMPLE: &str = include_str!("../../gateway.yaml");
const ROUTER_EXAMPLE: &str = include_str!("../../router.yaml");
const BACKEND_EXAMPLE: &str = include_str!("../../backend.yaml");

#[test]
fn the_examples_stand_at_the_defaults_of_the_code() {
    let gateway = GatewaySettings::new("eu-1".parse().unwrap(), "eu".parse().unwrap());
    assert_eq!(Settings::read("gateway.yaml", GATEWAY_EXAMPLE), Ok(Settings::Gateway(Box::new(gateway))));
    let router = RouterSettings::new("/var/lib/roost/router".into());
    assert_eq!(Settings::read("router.yaml", ROUTER_EXAMPLE), Ok(Settings::Router(router)));
    let backend = BackendSettings::new("/var/lib/roost/backend".into());
    assert_eq!(Settings::read("backend.yaml", BACKEND_EXAMPLE), Ok(Settings::Backend(backend)));
}

/// A key that nobody knows makes each section say the keys that it knows.
#[test]
fn the_examples_name_every_key_there_is() {
    let strange = "wwwwwwwwwwwwww";
    let gateway = format!(
        "{GATEWAY}{strange}: 1\nlimits: {{{strange}: 1}}\nmesh: {{{strange}: 1}}\n\
         fanout: {{{strange}: 1}}\nuplink: {{{strange}: 1, rules: [{{filter: a, {strange}: 1}}]}}\n"
    );
    let router = format!("{ROUTER}{strange}: 1\nmailbox: {{{strange}: 1}}\nlifetime: {{{strange}: 1}}\n");
    let backend = format!(
        "{BACKEND}{strange}: 1\nlimits: {{{strange}: 1}}\nusers: [{{name: a, password: b, {strange}: 1}}]\n"
    );
    for (text, sections, example) in
        [(gateway, 6, GATEWAY_EXAMPLE), (router, 3, ROUTER_EXAMPLE), (backend, 3, BACKEND_EXAMPLE)]
    {
        let said = problems(&text);
        assert_eq!(said.lines().count(), sections, "{said}");
        for key in said.lines().flat_map(|line| line.split_once("the keys here are ").unwrap().1.split(", "))
        {
            let is_there = example.lines().any(|line| {
                line.trim_start_matches([' ', '-'])
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.starts_with(':'))
            });
            assert!(is_there, "{key} is not in the example");
        }
    }
}
