"""The standing sentences of a report. What is in braces is filled in; everything else is said in every case."""

from __future__ import annotations

TITLE = "Report on an examination for a keyed mark"

# --- first page ---

MEANS = {
    "detected": "What was observed would hardly have come about, had it nothing to do with the secret key: the "
    "probability of that is not above the level (section 7). How a dependence on the key came about is a separate "
    "question (section 4).",
    "inconclusive": "Too little was observed to tell. This is not a sign of absence.",
    "not detected": "A dependence on the key as strong as {strength} would most likely have been found. A weaker one "
    "perhaps not; this does not show that the mark was never used.",
}
AS_THE_CONTROL = "that of the positive control (section 8), which the one test of it found,"
AS_THE_SPANS = "that of the stretches that section 7 names"
HOPEFUL_PLAN = (
    "Caution: this plan looks for a green fraction of {effect}. Models that learned from marked text are rarely "
    "greener than {most} ({measured}), and so few pairs would find none of them: a result “not detected” says next to "
    "nothing of such models."
)
HOPEFUL = (
    "Caution: “not detected” is here about a green fraction of {effect}. Models that learned from marked text are "
    "rarely greener than {most} ({measured}), and so few pairs would find none of them: of such models this result "
    "says next to nothing."
)
FOUND = "What was found"
FOUND_HEADINGS = ("what was examined", "by", "finding", "probability, were it unrelated to the key", "status")
BESIDES = "Besides these, {tests} in {runs} (section 7); {found}{after}."
BESIDES_AFTER = "; choices made after looking are not excluded in these"
BESIDES_NONE = "none of them says “detected”"
BESIDES_DETECTED = "of these {number} say “detected”{named}"
BESIDES_STOPPED = "Without a result ended {runs} (section 3)."
BY = {
    ("text", "count"): "counting of tokens",
    ("text", "scan"): "scan for marked stretches",
    ("sampled", "count"): "counting of its answers' tokens",
    ("sampled", "e-process"): "counting of its answers' tokens, as they came",
    ("sampled", "weights"): "its answers, weighed against a reference model",
    ("reading", "weights"): "its predictions, read from its weights",
}
CHANCE = (
    "If what was observed had nothing to do with the key, a result as extreme as this one, or more, would come about "
    "with a probability {chance} (adjusted for the number of tests, and for the key's check where there was one)."
)
CHANCE_AMONG = CHANCE.replace("as this one,", "as the one that says “detected”,")
POOLED = ", taken together (each by itself: section 7, where it was tested)"
CHANCES = (
    "If what was observed had nothing to do with the key, a result as extreme as the weakest of those that say "
    "“detected”, "
    "or more, would come about with a probability {chance} (adjusted within each run; section 10 takes all runs "
    "together)."
)
SHORT_OF_IT = (
    "A result whose probability lies below {small} without reaching the level that was set, {alpha}, is not counted as "
    "a finding here. It neither supports absence, nor may it be read as a finding afterwards: the level is the plan's."
)
SHORT_UNPLANNED = (
    "A result whose probability lies below {small} without reaching the level, {alpha}, is not counted as a finding "
    "here, and does not support absence."
)
NO_CHANCE = "No probability is claimed for this result; section 7 gives the reason that was recorded."
NOT_THE_INVERSE = (
    "This is a probability of the observation, supposing that key and observation have nothing to do with each other. "
    "It is not the "
    "probability that they have nothing to do with each other, nor a probability that anybody did anything."
)
FLOOR_SAID = (
    "Probabilities are shown no smaller than 10^-30. Far earlier than that, mistakes of procedure are the likelier "
    "source of error; no probability in this report includes them."
)
CONFIRMATORY = (
    "Confirmatory: key, test, level and stopping rule were settled and recorded before the questioned "
    "model or text was examined, as far as the signed log shows."
)
EXPLORATORY = (
    "Exploratory: the log does not show that key, test and level were all settled before the questioned "
    "model or text was examined. Choices made after looking are therefore not excluded (section 3)."
)
NOT_SAID = (
    "The report does not say who wrote, copied, trained or passed on anything. Whether training is the route by which "
    "a dependence on the key came about is a second proposition, to be judged with the alternatives of section 4."
)
EXAMINED = "Examined for the mark of the key {key}: {what}; {tests} in {runs}. All of them are listed in section 7."
NOTHING_TESTED = "No test gave a result. Section 7 lists what was begun, and why it ended."
VERIFIED = (
    "Before this report was made, every signature and digest of the evidence bundle was checked by program, "
    "and "
    "every number that can be computed again was (section 13). Not checked: {unchecked}."
)
UNCHECKED_MORE = "{points}, which section 12 lists"

# --- 1 ---

NO_QUESTION = (
    "No commission was given with this report. The technical question that the examination answers is: does what was "
    "observed depend on the secret key whose id is named as the key examined?"
)
COMMISSION_SOURCE = (
    "The statements on the commission, the examiner and the items' descriptions come from the examiner's own file "
    "(SHA-256 {digest}). They are quoted as they stand, are not covered by the bundle's signatures, and nothing in "
    "this report was computed from them."
)
TECHNICAL = (
    "In technical terms: does what was observed depend on the secret key {key}? The key divides the vocabulary of a "
    "language model, anew after every context, into a green and a red part; of text that has nothing to do with "
    "the key, a share of {gamma} is green by chance."
)

# --- 2 ---

ITEMS = (
    "The items are identified by their SHA-256 digests: two files with the same digest have the same content. The "
    "table "
    "names what each run read. What a digest cannot say is where an item came from: that is the custody before the "
    "first entry of the log, and has to be shown by other means."
)
NO_ITEMS = "No run was recorded, so no items were read."
NOT_DESCRIBED = "These described items were read by no run: {names}."
CUSTODY = (
    "What was done with the key through this case was recorded in a log as it was done, failures included; what was "
    "done outside it the log cannot show. Each entry "
    "is signed (Ed25519) and names the digest of the entry before it, so nobody without the signing key can change an "
    "entry, leave one out or put one in without this showing. Whoever holds that key can go back to any earlier entry "
    "and write all that follows anew, with any times; a timestamp from outside excludes that only for what came before "
    "it."
)
STAMPS = (
    "A timestamp (RFC 3161) from an authority outside the examination shows that what it is over existed at that time. "
    "Whether the authorities' certificates lead to a trusted root {rooted}."
)
NO_STAMPS = (
    "There is no timestamp from outside. The order of the entries, and their times, are therefore the word of "
    "whoever signed them."
)

# --- 3 ---

PLAN = (
    "A plan settles, before the questioned model is touched, the key, the probes, the tests and which of them is the "
    "primary one, the level, and when to stop. A result is called confirmatory only where such a plan, for a key that "
    "was "
    "committed to before, was recorded before the questioned model was examined, and had not been carried out before."
)
NO_PLAN = (
    "No plan was recorded. All results of this report are exploratory: they can suggest a question, and an examination "
    "of a model with a plan can answer it. Of texts alone there is no plan: results stay exploratory."
)
COMMITMENT = (
    "A commitment fixes the key without showing it: a digest from which nobody can find the key, and to which no other "
    "key can be made to lead. An owner who could try keys until one fits would gain a power of ten with every tenfold "
    "of keys tried; a commitment older than the observation limits that to the marks that it holds, whose number the "
    "log gives, and to what could be tried before on other text."
)
NO_COMMITMENT = (
    "No commitment to the key was recorded. That the key existed before the observation, and was not chosen to fit it, "
    "rests on other evidence."
)
NO_DEVIATIONS = "The log shows no deviation from the plan."
UNPLANNED_RUN = "Run {run} ({command}) carried no plan out; what it found is exploratory."
PLANNED_RUN = "Run {run} ({command}) carried the plan {plan} out, and the log bears that order out."
GOES_ON = (
    "Run {run} goes on from {earlier}: what is recorded of the server's answers until then is the beginning of what it "
    "had answered in the end. That nothing was cut before that from both copies of the answers, the response log's and "
    "the case's, is the word of whoever signed."
)
BEFORE_PLAN = (
    "Runs of this case that had begun before the plan {plan} was recorded: {runs}. That none of them examined the "
    "model that the plan is for is shown only as far as names and digests tell: one model can have several names, and "
    "several digests."
)
LATE_RUN = "Run {run} ({command}) names the plan {plan}, but {reasons}."
STOPPED_RUN = "Run {run} ({command}), under {plan}, ended without a result: {reason}. {logged}"
NO_PLAN_CARRIED, NOT_LOGGED = "no plan", "No answers of it are in the log."
LOGGED = "{answers} of a server had been logged by then."
PLAN_UNUSED = "The plan {plan} was recorded, and no run that gave results carried it out."
KEY_CHECKED = (
    "By its record, the key was checked once on human text (SHA-256 {corpus}) and {outcome}; that there was no other "
    "check before is the owner's word. The rule: the key is accepted where the "
    "one-sided p of "
    "that text is above 0.01; every later p is then multiplied by 1/.99, which the adjusted p-values here include."
)
KEY_REFUSED = "refused, so that no p is claimed under it"
KEY_ACCEPTED = "accepted"
KEY_UNCHECKED = (
    "No check of the key on human text was recorded. It would show, before first use, a key whose green part is by bad "
    "luck too common in ordinary text."
)

# --- 4 ---

PROPOSITIONS = (
    "The tests of this report concern one pair of propositions, about outputs and key:",
    (
        "H1: what was observed depends on the secret key.",
        "H0: what was observed does not depend on the secret key: it would have come about in the same way had "
        "another key "
        "been drawn.",
    ),
    "A small p speaks against H0. It carries no information on which of the ways below led to a dependence.",
    "By what route the dependence came about is a separate pair of propositions, about activities:",
    (
        "A1: text was written by a model that the mark was put into; or the questioned model was trained, directly or "
        "through intermediate models, on text that carries the mark.",
        "A0: it was not, and the dependence came about in another way.",
    ),
    "The tests cannot tell A1 from A0. The alternatives that have to be weighed with other evidence, and what would "
    "bear on each:",
)
ALTERNATIVES = (
    (
        "Marked text met on the web or through a third party",
        "Marked text may have been published or passed on by a licensed user, and been collected in good faith. A "
        "mark that "
        "is particular to an account and a month narrows this down; the reach of published marked text does not show "
        "in the test.",
    ),
    (
        "Retrieval or prompts",
        "A model that is given marked text at the time it answers (retrieval, tools, a system prompt, a cache) "
        "repeats it without having "
        "been trained on it. Reading weights that are at hand excludes this; asking a server does not.",
    ),
    (
        "Spoofing",
        "Who has much marked text can learn which tokens are often green and imitate the mark without the key. The "
        "narrower the context, the easier: this mark uses a context of {width}.",
    ),
    (
        "A leaked key",
        "Who holds the key can write marked text, or train on text that they marked, to implicate somebody. Who had "
        "the "
        "key, from when, and how it was kept, is not shown by the test.",
    ),
    (
        "Licensed use",
        "Training on marked text may have been allowed, by contract or by law. That is no question of statistics.",
    ),
    (
        "A common origin",
        "The questioned model may descend from a model of the key's owner, or from another that was trained on marked "
        "text, by "
        "acts of others.",
    ),
    (
        "Fault or misconduct in the examination",
        "A wrong item, a wrong key, a probe that carries the mark, or an examiner who chose what to report. Custody, "
        "digests, the plan, the audits and the line-up are there to make these visible; they do not exclude them all.",
    ),
)

# --- 5 and 6 ---

PLAIN = (
    "A language model writes token by token (a token is a word or a piece of one). The key divides all tokens into a "
    "green "
    "and a red part, anew after every context; the context here is {context}. The owner's model prefers green tokens a "
    "little: at times it chooses other words than it would have, which costs some fluency. Which tokens are green "
    "cannot be computed without the key.",
    "Whoever writes without the key, and has not learned from text that was written with it, hits the green part by "
    "chance: {gamma} of the time, for every language, model and subject. The reason is that the colours are drawn by a "
    "cipher under the secret key (ChaCha20), so that for whoever has no "
    "key each colour is like the toss of a coin with that bias. No assumption about language is made.",
    "The test counts. Each pair of a context and the token after it is counted once, however often it occurs, because "
    "a "
    "repeated pair has the same colour again and is no new observation. Pairs that occur in what the examiner fed in "
    "are left out. Many more green pairs than chance gives speak for a dependence on the key.",
)
PLAIN_WEIGHTS = (
    "Where the weights of a model are at hand, nothing need be generated. The model is given ordinary text and the "
    "probabilities are read that it gives to every possible next token. Tokens that it prefers more than a reference "
    "model "
    "does get a positive weight, the others a negative one. The test asks whether positive weights lie on green tokens "
    "more than chance allows. The weights must not depend on the key: Taggant computes them without it, and who has "
    "the models can repeat that; a bundle alone cannot show it."
)
PLAIN_SEQUENCE = (
    "Where a model is asked, the answers are counted as they come, and the examination may end early when the evidence "
    "reaches a level that was set beforehand. The statistic used (an e-value) allows looking at every moment without "
    "making a false finding more likely than the level says."
)
PLAIN_SCAN = (
    "A scan looks at every stretch of a text, for marked passages in a longer document; its p is corrected for all "
    "stretches it looked at."
)
PLAIN_LINEUP = (
    "The same calculation is made with other keys, derived from a seed that everybody can see: decoys. If "
    "the calculation or the material favoured green tokens of any key, the decoys would score highly as well."
)
NOTATION = (
    "γ is the chance of green; n the number of distinct (context, token) pairs that count, k the green ones among "
    "them; "
    "a(c, v) a weight, which must not depend on the key, of token v after context c; green(c, v) is 1 or 0; log is "
    "natural unless it says log10."
)
COLOUR = (
    "Colour. u(c, t) is the t-th little-endian 16-bit number of the ChaCha20 keystream (RFC 8439) under the opened "
    "key and a nonce made of "
    "the context c; a pair is green if u is below {threshold} of 65536, so γ = {gamma}."
)
COUNT_LAW = "Count, exact, one-sided. Under H0 k follows a binomial law:"
COUNT_FORMULA = "p = P(Binomial(n, γ) ≥ k) = Σ_{j ≥ k} C(n, j) γ^j (1 − γ)^(n − j)"
E_LAW = (
    "E-value of a count: a likelihood ratio averaged over all green fractions above γ. Under H0 its mean is at most 1."
)
E_FORMULA = "E = 1/(1 − γ) ∫ from γ to 1 of (q/γ)^k ((1 − q)/(1 − γ))^(n − k) dq"
SEQUENCE_LAW = (
    "E-process: E after each new pair, in an order fixed beforehand. The chance under H0 that it ever reaches 1/α is "
    "at "
    "most α. After it ended, the reported p is"
)
SEQUENCE_FORMULA = "p = min(1, 1 / max over time of E)"
WEIGHTS_LAW = (
    "Weights, a valid bound (Chernoff), one-sided. S compares the weights on green tokens with what chance gives:"
)
WEIGHTS_FORMULA = "S = Σ a(c, v) (green(c, v) − γ)"
BOUND_FORMULA = "log p ≤ Σ log(1 − γ + γ e^(θ a)) − θ (S + γ Σ a)     for any θ > 0;  p = 1 where S ≤ 0"
INTERVAL_LAW = (
    "Interval of the green fraction: Clopper–Pearson, 95 %, under a binomial model. For marked text that model is not "
    "guaranteed; the p-value does not rest on the interval, nor on z, which is shown because readers expect it."
)
ADJUSTED_LAW = (
    "Several tests judged together (a family of m) are adjusted by Holm's method; after a key check that was passed, "
    "divided by .99:"
)
ADJUSTED_FORMULA = "p̃_(i) = max over j ≤ i of min(1, (m − j + 1) p_(j)) / .99"
FINDING_LAW = (
    "Finding: “detected” if and only if the adjusted p is at most α. Otherwise “not detected” if the test could have "
    "found the effect named beforehand, else “inconclusive”."
)
RANK_LAW = "Line-up of M decoys. Under H0 the key is as any decoy:"
RANK_FORMULA = "p_rank = (1 + number of decoys that score at least as high) / (M + 1)"

# --- 7 and 8 ---

ALL_TESTS = (
    "Every test that was run is listed, whatever it found. “p” is that of the test alone, “adjusted” after "
    "multiplicity and "
    "key check (section 10); findings are made on the adjusted one. {amount} in all; {stopped} ended without a result "
    "(section 3)."
)
CONTROL_MARK = "positive control"
EACH = "Single documents, judged as a family of their own:"
EACH_MORE = "The first {shown:,} of {all:,} single documents are shown; those with a finding: {found}."
RECORDED_NOTES = "What was recorded with this test:"
CONTROL_NOTES = "What was recorded with this control, besides what stands with the test that it belongs to:"
SAME_NOTES = "{notes}, word for word as with {test}"
WITH_LEFT_OUT = "with the pairs left out"
WHOLE = (
    "{left_out} left out, for standing in a prompt or having a special token; counted with them, {green} of {all} "
    "distinct pairs are green: {value}"
)
SPANS = "Stretches that the scan found, by document, in tokens:"
POSITIVE = (
    "A positive control is a model that, by the word of whoever planned it, carries the mark, tested in the same way. "
    "It shows that the test could have found the mark at that strength."
)
NO_POSITIVE = (
    "No positive control was tested. A result other than “detected” of a weighted test says nothing of absence then."
)
NEGATIVE = (
    "Negative controls: the check of the key on human text (section 3) and the decoys of the line-up, which are keys "
    "that marked nothing. A model of the same kind that never met the mark is a control that only the commissioner "
    "can provide; the "
    "record does not say whether any item was one."
)
LINEUP = (
    "{test}: the key ranks {rank:,} among itself and {decoys:,} decoys (p of the rank: {p_rank}; it cannot be smaller "
    "than {least}). "
    "The line-up audits the calculation; the evidence is the p-value of section 7."
)
LINEUP_UNIFORM = (
    "Under H0 the decoys' own p-values spread evenly between 0 and 1; a test of that gives p = {p}{remark}."
)
UNEVEN = (
    ": the decoys do not spread as they should, so something in the calculation or the material has to be looked into"
)
NO_LINEUP = "No line-up of decoys was made."
LINEUP_CAPTION = (
    "{test}. The grey bars are the scores of {decoys:,} other keys on the same material; the line is the key's."
)

# --- 9 ---

NO_VALIDATION = (
    "No validation study was given with this report. It therefore states no measured error rate. What stands in its "
    "place "
    "is the law of section 6, under which the p-value is exact or a bound. A court that asks for a known or potential "
    "rate of error should be given a study (made by “taggant validate”) on the population of the case."
)
VALIDATION = (
    "The validation study with SHA-256 {digest} scored {what} that no key had marked under fresh keys, and "
    "counted how often the test said otherwise. It is not part of the bundle, and was not repeated for this report."
)
OTHER_MARK = (
    "The study was made with other parameters than this mark's ({what}). Its rates are those of the method, not of "
    "this mark."
)
SAME_MARK = "The study was made with the parameters of this mark (γ, context width, scheme{tokenizer})."
POPULATIONS = "The populations of the study: texts in which no key had a part"
RATES = (
    "False findings by population, texts of all lengths: how many null trials had p at or below a level, and the 95 % "
    "Clopper–Pearson interval of the rate"
)
MODEL_RATES = "The same for models that saw no mark, read under fresh keys"
MARKED_RATES = "How often marked text was found, by population, strength δ and length in tokens"
POPULATION = (
    "A rate holds for the population in its row. Whether the questioned material belongs to one of these populations "
    "is a matter of judgement that the study cannot settle. No number of trials reaches a level like 10^-6: a count "
    "of nothing "
    "says only that the rate is below the interval's upper end."
)
WITHIN = "Of {checked:,} counts of small p, {within:,} lie within the limits that were set before."
TESTED_HERE = "The tests used in this case of which the study gives rates: {names}. Without rates in it: {without}."

# --- 10 ---

MULTIPLICITY = (
    "The more tests are made, the sooner one of them shows something by chance. Tests that were judged together are "
    "adjusted together (Holm), which holds however they depend on each other. Tests of different runs are not "
    "adjusted for "
    "each other: each run answers a question of its own, and the number of runs is shown so that a reader can do so."
)
FAMILIES = "Families as they were judged"
ACROSS = (
    "Over the whole case {tests} gave a p in {families}. Multiplying the smallest adjusted p by the number of "
    "families gives a bound over all of them: {chance}."
)

# --- 11 ---

NO_RATIO = (
    "No likelihood ratio is given: no controls were given to this report that would allow one for its results. It "
    "takes models or "
    "texts of sources that have nothing "
    "in common, made for the purpose, some trained on marked material and some not, examined by the same test. Neither "
    "1/p nor the e-value of a test is a likelihood ratio for the propositions of section 4, and neither is offered as "
    "one."
)
RATIO = (
    "The result “detected” of {test} is {words} under H1 than under H0, judged by {positives} and {negatives}: "
    "this outcome came about in {hits} of the positive and in {false} of the negative ones. That no two of them are of "
    "one source is the word of whoever made the file."
)
AS_STRONG = "a dependence as strong as that of the controls"
RATIO_NOT = (
    "The result “not detected” of {test} is {words} under H1, for a dependence as strong as that of the controls, than "
    "under H0, judged by {positives} and {negatives}: {hits} of the positive and {false} of the negative ones were not "
    "detected either. Of a weaker dependence this says nothing. That no two of them are of one source is the word of "
    "whoever made the file."
)
UNDECIDED = (
    "The result of {test} is “inconclusive”: too little was observed to tell. It is no sign of absence, and gets no "
    "likelihood ratio."
)
FEW_CONTROLS = (
    "Controls were given (SHA-256 {digest}): the mark was detected in {hits} of {positives} and in {false} of "
    "{negatives}. They are too few for a ratio, which takes at least {least} of each kind."
)
UNFIT_CONTROLS = (
    "Controls that were given are of another test, of another level, or of another kind of mark (γ, context width, "
    "what was weighed, with or without a reference) than the results of this report, and are not used."
)
RATIO_LAW = (
    "Each rate is estimated by (count + 1/2)/(number + 1); the interval joins two Clopper–Pearson intervals of 97.5 "
    "%, so that it covers the ratio, or its limit where the ratio lies beyond, with "
    "at least 95 %. The ratio is held between 1/(number of positives + 1) and (number of negatives + 1): so many "
    "controls cannot show more. The words follow a scale of the kind that ENFSI's guideline gives, for the end of the "
    "interval that is nearer to 1."
)
RATIO_SCOPE = (
    "The ratio is about H1 and H0 as the controls stand for them: this test, at this level, on sources of their kind. "
    "Each control is judged alone, by the p of its one test. Where the test of the case was adjusted for other tests, "
    "other keys or the key's check (section 10), it had to reach more than the controls had. The ratio "
    "says nothing of the route (A1, A0), and is not the odds that a proposition holds; these depend on all other "
    "evidence, and are the court's."
)

# --- 12 ---

LIMITS = (
    "The report answers whether outputs depend on a key. It does not answer by whose act, nor whether that was "
    "unlawful.",
    "It rests on what was recorded in the bundle. What was done outside the recorded case leaves no trace in it: "
    "other keys, other "
    "models, earlier looks.",
    "Signatures show that a key holder signed; whose the key is has to be shown otherwise.",
    "Probabilities do not include mistakes of procedure: mixed-up items, wrong digests of what was meant, faults of "
    "programs that the "
    "two verifiers share in their specification.",
    "The tests presuppose that probes, prompts and reference were chosen without the key. That is audited under the "
    "key, but a faint dependence would not show.",
    "Hidden or lookalike characters, paraphrase and translation can weaken or remove a mark; a result other than "
    "“detected” does not show that marked material was not used.",
    "The software is young and has, by the date of this release, been reviewed by its authors only. Its method is "
    "published with it, with tests that repeat its figures.",
)
NOTES_IN_7 = "What limits a single test is recorded with it, and stands there in section 7."

# --- 13 ---

REPRODUCE = (
    "Everything below works offline, without a model, from the bundle alone. The first command shows that it is the "
    "bundle of this report; the second checks every signature and digest, and computes every number again that can be "
    "(section 12 names what was not checked); the third is a program that shares no code with the second."
)
SECOND = (
    "That program, too, checks signatures, digests, log and order, and computes the counts, p-values, e-values, "
    "bounds, ranks among decoys, adjusted p and findings again. It leaves to the second command: scans, the audits of "
    "probes, prompts and reference, tests of comparison, the saddlepoint and the test of the decoys' own p (shown, and "
    "no finding made on them), the best decoy of weighted tests, part of what the plan says, and answers that were "
    "tokenised again. It is the file tools/verify_bundle.py in the source repository of Taggant, at the version that "
    "sealed the bundle{version}; the installed package does not bring it."
)
MADE_BY = " ({version})"
CLOSED = (
    "The key is not opened in this bundle, which keeps colours closed except where a test counts few pairs: the count "
    "of a single pair is its colour. Counts of green pairs (and S) are the examiner's word, and everything that "
    "follows from them was "
    "computed again. For an independent count the commissioner has to hand over the one opened key; it opens this "
    "mark and no other."
)
OPEN = (
    "The key is opened in this bundle (opening.json), so every colour can be computed by anybody with OpenSSL. "
    "Whoever has the bundle can write text "
    "that carries this mark: from now on the key tells nothing about text that is made later."
)
REPORT_AGAIN = (
    "This report itself comes out byte for byte the same from the same bundle, the same files and the same release."
)

# --- 14 ---

SIGNED = (
    "The bundle was signed by the keys below. This report is made by program from the bundle, and is not itself "
    "signed; "
    "where it is handed to a court the examiner signs it here, and answers for what it says."
)
DECLARATION = (
    "I have made this report, or had it made under my supervision, from the bundle named on the first page. I have "
    "stated what "
    "I was asked, what was examined, and what limits the conclusions."
)
