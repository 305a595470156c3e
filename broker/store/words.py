"""What views are made of, for who makes them shorter before they are sealed (RFC 8878 section 5, a dictionary).

Owns the bytes. They must never change: what was sealed with them is read with them. Other words need another
layout (`packed.py`). Nothing here is of a person: the tables say how often which bytes, lengths and distances
come in views, counted over made-up ones (`zstd.finalize_dict`).
"""

TABLES = bytes.fromhex(
    "37a430ec9444ef434210882b49070a8adfac41981b5161652238498983ba4480ffad1817e75adb924558df4e1d996452"
    "a25502ef9827ecd2806d29939449a694da3d7fc0f68eed08c2d254930000003c0c1140c22099570004a0c30d0f889120"
    "0d91c7419400240009400290280000000402000000201a20f10400004411120000a470a481c89c140ac4490a00000000"
    "008004b000a801000000010000000400000008000000"
)

WORDS = (
    b'{"actor":{"id":"","role":""},"agreement":null,"code":null,"controller":null,"detail":{"audience'
    b'":"full","beyond":null,"entry":"","facts":["event ","person "],"found":0,"reason":"complaint","'
    b'request_ids":[],"since":null,"subject":{"scheme":"","value":""},"until":null},"event":"log-sear'
    b'ched"}"entry-viewed","explained","received","undelivered","intent","not-found","provider-failur'
    b'e","recorded-late","not-before-release","records.nhs.v1.PatientSummary","records.police.v1.Pers'
    b'onWarning","records.council.v1.SocialCareStatus","direct-care","home-fire-safety","safeguarding'
    b'-adult","missing-person","dpa-part3","law-enforcement","signed-token","shared-device","roster",'
    b'"asserted","social-worker","fire-crew","nhs-number","police-nominal","social-care-id"{"actor":n'
    b'ull,"agreement":null,"answered_by":null,"as_at":null,"asked_by":null,"asked_of":null,"basis":nu'
    b'll,"code":"agreement","condition":null,"consulted":false,"controller":null,"decided":"refuse","'
    b'directives":[],"event":"refusal","failure":"","gateway":null,"grant":null,"granted":{"granted":'
    b'true,"law":null,"permitted":[],"referral":"","request":"","until":""},"identifiers":[],"inciden'
    b't":null,"key":null,"lane":"emergency","law":null,"learnt":[],"now":null,"obligations":[],"outco'
    b'me":"refuse","overridden":{"code":"","restricted":{},"said_why":true,"until":null,"used":true,"'
    b'waived":[]},"override":null,"permitted":[],"place":null,"policy":null,"processor":null,"provide'
    b'r":null,"provider_regime":null,"purpose":"safeguarding-child","reason":"life-at-risk","record_t'
    b'ype":null,"refer_by":null,"reference":null,"refused":{"code":"agreement","message":"","remedy":'
    b'""},"regime":null,"request_id":null,"requester":null,"response":null,"retry_of":"","rules":["ju'
    b'dgement.taken refer: "," refuse: "," waived: "],"system":null,"trace":null,"traits_agreed":[],"'
    b'v":1,"valid_until":null,"words":""}{"actor":{"assurance":"personal-login","callsign":"","device'
    b'":"","employer":"","id":"","name":"","on_behalf_of":"","role":"ambulance-crew"},"agreement":"",'
    b'"answered_by":null,"as_at":"2026-","asked_by":{"scheme":"uprn","value":"1000"},"asked_of":null,'
    b'"basis":"art6-1-e","code":null,"condition":"art9-2-h","consulted":true,"controller":"cfrs","dec'
    b'ided":"permit","directives":[],"event":"disclosure","failure":null,"gateway":"frsa-2004-s7","gr'
    b'ant":null,"granted":null,"identifiers":[{"scheme":"nhs-number","value":""},{"scheme":"uprn","va'
    b'lue":"1000"}],"incident":"nwas/2026-","key":"","lane":null,"law":"","learnt":[{"scheme":"nhs-nu'
    b'mber","value":""}],"now":"2026-11-","obligations":["no-onward-sharing"],"outcome":"permit","ove'
    b'rridden":null,"override":null,"permitted":["access.as_at","access.directions","access.state","h'
    b'azards.as_at","hazards.items.code","hazards.state","oxygen.as_at","oxygen.kind","oxygen.state",'
    b'"uprn"],"place":{"district":"E0700002","latitude":"5","longitude":"-3","uprn":"1000"},"policy":'
    b'0,"processor":null,"provider":"cfrs","provider_regime":"uk-gdpr","purpose":"emergency-response"'
    b',"reason":null,"record_type":"records.fire.v1.PremisesRisk","refer_by":null,"reference":0,"refu'
    b'sed":null,"regime":"uk-gdpr","request_id":"","requester":"nwas","response":"","retry_of":null,"'
    b'rules":["identity.enrolled pass","party.acts-for pass","party.holder pass","party.valid-today p'
    b'ass","purpose.known pass","agreement.in-force pass","agreement.not-suspended pass","role.named '
    b'pass","assurance.enough pass","context.subject-named pass","regime.fits pass","basis.stands pas'
    b's","condition.special-category pass","condition.offence pass","gateway.opens pass","further-use'
    b'.authorised pass","confidence.set-aside pass","person.staff-conflict pass","person.protected-id'
    b'entity pass","person.holders-agree pass","person.not-against pass","person.opt-out pass","perso'
    b'n.consent pass","context.condition pass","judgement.taken pass","fields.named pass"],"system":"'
    b'cad","trace":"","traits_agreed":[],"v":1,"valid_until":"2027-"}'
)
