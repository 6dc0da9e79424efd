//! Where each table of the vocabulary is explained, and where the schema has it.

/// The tables of the vocabulary: heading in the reference, place in the schema.
pub(super) const TABLES: &[(&str, &str)] = &[
    ("Top level", ""),
    ("`[hsm.NAME]`", "/properties/hsm/additionalProperties"),
    (
        "`[hsm_group.NAME]`",
        "/properties/hsm_group/additionalProperties",
    ),
    ("`[keys]`", "/properties/keys"),
    ("`[trust.NAME]`", "/properties/trust/additionalProperties"),
    (
        "`[trust.NAME.crl]`",
        "/properties/trust/additionalProperties/properties/crl",
    ),
    (
        "`[trust.NAME.ocsp]`",
        "/properties/trust/additionalProperties/properties/ocsp",
    ),
    ("`[deny]`", "/properties/deny"),
    ("`[redis.NAME]`", "/properties/redis/additionalProperties"),
    ("`[tickets]`", "/properties/tickets"),
    ("`tickets.keys`", "/properties/tickets/properties/keys"),
    ("`[resumption]`", "/properties/resumption"),
    ("`[[listener]]`", "/properties/listener/items"),
    (
        "`client_cert`",
        "/properties/listener/items/properties/client_cert",
    ),
    (
        "`proxy_protocol`",
        "/properties/listener/items/properties/proxy_protocol",
    ),
    ("`[[site]]`", "/properties/site/items"),
    (
        "`[[site.certificate]]`",
        "/properties/site/items/properties/certificate/anyOf/0",
    ),
    ("`[site.tls]`", "/properties/site/items/properties/tls"),
    (
        "`[[site.route]]`",
        "/properties/site/items/properties/route/items",
    ),
    (
        "`[[site.tcp]]`",
        "/properties/site/items/properties/tcp/items",
    ),
    ("`[[passthrough]]`", "/properties/passthrough/items"),
    ("`[[egress]]`", "/properties/egress/items"),
    ("`[[role]]`", "/properties/role/items"),
    ("`[[rule]]`", "/properties/rule/items"),
    (
        "`[upstream.NAME]`",
        "/properties/upstream/additionalProperties",
    ),
    (
        "`[upstream.NAME.tls]`",
        "/properties/upstream/additionalProperties/properties/tls",
    ),
    (
        "`[upstream.NAME.ejection]`",
        "/properties/upstream/additionalProperties/properties/ejection",
    ),
    (
        "`[upstream.NAME.retries]`",
        "/properties/upstream/additionalProperties/properties/retries",
    ),
    (
        "`[upstream.NAME.dns]`",
        "/properties/upstream/additionalProperties/properties/dns",
    ),
    (
        "`[upstream.NAME.health]`",
        "/properties/upstream/additionalProperties/properties/health",
    ),
    (
        "`[rate_limit.NAME]`",
        "/properties/rate_limit/additionalProperties",
    ),
    ("`[forwarding]`", "/properties/forwarding"),
    (
        "`[forwarding.xfcc]`",
        "/properties/forwarding/properties/xfcc",
    ),
    (
        "`[forwarding.jwt]`",
        "/properties/forwarding/properties/jwt",
    ),
    ("`[limits]`", "/properties/limits"),
    ("`[timeouts]`", "/properties/timeouts"),
    ("`[admin]`", "/properties/admin"),
];
