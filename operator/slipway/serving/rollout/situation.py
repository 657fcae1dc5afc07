"""What one pass must know to choose: the state, what happened, which guards hold, what the children should be. Pure.

Nothing is chosen here: each method answers one question.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from slipway.api.common import asked_anew, parse_time, seconds
from slipway.api.deployment import DeploymentSpec, DeploymentStatus, Retiring, Weights
from slipway.kube.drift import differs
from slipway.kube.objects import Manifest
from slipway.serving import children
from slipway.serving.analysis import judge
from slipway.serving.analysis.judge import Watched
from slipway.serving.analysis.look import DISAGREEMENT, PODS
from slipway.serving.observed import Observed, Running
from slipway.serving.rollout import cannot, capacity, program, rollback
from slipway.serving.rollout.machine import VERBS, Event, State
from slipway.serving.rollout.program import Step
from slipway.serving.rollout.strategies import STRATEGIES
from slipway.serving.rollout.weights import candidate_weight, carries, replicas_for
from slipway.serving.traffic import features, gateway_api, policy, service, sticky
from slipway.serving.traffic.policy import Taken
from slipway.serving.traffic.seen import Seen, Trouble, note, stray
from slipway.serving.words import Words, words

LONGEST_SHADOW: Final = "30m"
"""How long a shadow may take to a verdict where nobody says how long."""


@dataclass(frozen=True)
class Situation:
    """An observation at a time, with the facts that were recorded before."""

    observed: Observed
    now: datetime

    # ------------------------------------------------------------------------------------------- who is who

    @property
    def spec(self) -> DeploymentSpec:
        return self.observed.spec

    @property
    def facts(self) -> DeploymentStatus:
        return self.observed.status

    @property
    def kind(self) -> str:
        """What the rollout is called in sentences."""
        return {"Canary": "canary", "BlueGreen": "blue/green", "Shadow": "shadow"}[self.spec.strategy.type]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps that the spec asks for; it may change during a rollout, and then the new steps hold."""
        return program.of(self.spec, STRATEGIES)

    @cached_property
    def state(self) -> State:
        return program.state(self.facts, self.steps)

    @cached_property
    def here(self) -> Step | None:
        """What is wanted of the traffic now."""
        return program.wanted(self.facts, self.steps)

    @property
    def asked(self) -> int:
        """Percent that the candidate is asked to carry now."""
        return self.here.weight if self.here else 0

    @property
    def stable(self) -> str | None:
        return self.facts.stable.model_version if self.facts.stable else None

    @property
    def candidate(self) -> str | None:
        return self.facts.candidate.model_version if self.facts.candidate else None

    @property
    def runs_stable(self) -> Running:
        return self.observed.of(self.stable)

    @property
    def runs_candidate(self) -> Running:
        return self.observed.of(self.candidate)

    @property
    def fit(self) -> bool:
        """Whether the version that the spec asks for may begin: it is fit itself, and its names are free."""
        target, taken = self.observed.target, self.observed.taken
        free = target.wanted not in taken.versions and taken.traffic is None
        # A way back skips the steps: what they would need must not stand in its way.
        possible = self.refusal is None or self.still_runs or self.served_before(target.wanted)
        return target.fit and free and target.wanted != self.stable and possible

    @cached_property
    def refusal(self) -> Trouble | None:
        """Why the strategy cannot be carried out here, known before anything is begun."""
        return cannot.refusal(self.observed, self.steps)

    def served_before(self, version: str | None) -> bool:
        """Whether a version is in the rollback window."""
        return rollback.in_window(version, self.facts, self.spec.strategy.rollback_window)

    @property
    def still_runs(self) -> bool:
        """Whether the version that the spec asks for was stable a moment ago and its replicas still stand."""
        wanted = self.observed.target.wanted
        record, kept = self.retiring(wanted), self.observed.of(wanted)
        # With stableScale: Share it has given some of them up; in place it has none for long.
        return (
            record is not None
            and record.was_stable
            and self.surge
            and kept.replicas > 0
            and kept.ready >= min(kept.replicas, self.spec.replicas)
        )

    def retiring(self, version: str | None) -> Retiring | None:
        """The record of a version that keeps its replicas for a while."""
        return next((r for r in self.facts.retiring if r.model_version == version), None)

    @cached_property
    def candidate_words(self) -> Words | None:
        return words(self.runs_candidate, self.spec)

    # -------------------------------------------------------------------------------------------- replicas

    @property
    def surge(self) -> bool:
        """Whether both versions may together have more than spec.replicas. The schema refuses one replica in place."""
        return self.spec.strategy.surge or self.spec.replicas < 2

    @cached_property
    def candidate_need(self) -> int:
        """Ready replicas of the candidate from which on it is whole, for the step that holds."""
        if self.state is State.RETREATING:
            return self.runs_candidate.replicas
        if self.stable is None:
            return self.spec.replicas
        percent = capacity.load(self.spec, self.facts, self.steps)
        if not self.surge:
            # The first one joins the traffic at once: each that is ready counts, as the stable version has one less.
            return capacity.part(percent, self.spec.replicas) if self.facts.step else 1
        if self.spec.route is None and self.spec.replicas:
            return replicas_for(percent, self.spec.replicas)
        return capacity.share(percent, self.spec.replicas)

    @property
    def candidate_whole(self) -> bool:
        return self.runs_candidate.workload is not None and self.runs_candidate.ready >= self.candidate_need

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Replicas that the workloads of stable and candidate should have now."""
        if self.surge or self.stable is None:
            return self._stable_share, self._candidate_share
        mine = {self.stable, self.candidate}
        others = sum(
            capacity.Side(r.replicas, r.living).holds for v, r in self.observed.running.items() if v not in mine
        )
        forward = self.candidate is not None and self.state is not State.RETREATING
        return capacity.in_place(
            self.spec.replicas,
            self.candidate_need if self.candidate else 0,
            _side(self.runs_stable),
            _side(self.runs_candidate),
            others,
            forward=forward,
            settled=self.settled,
        )

    @property
    def stable_goal(self) -> int:
        """Ready replicas of the stable version at which nothing is missing."""
        return self.spec.replicas if self.candidate is None or self.stable is None else self.sizes[0]

    @property
    def _stable_share(self) -> int:
        """All of them; with stableScale: Share those that its traffic needs. What it gives up goes only when the
        gateway was seen to follow, and comes back in the pass in which its weight grows."""
        replicas, present = self.spec.replicas, self.runs_stable.replicas
        shares = self.spec.strategy.stable_scale == "Share" and self.spec.route is not None
        if not shares or self.candidate is None or self.state is State.RETREATING:
            return replicas
        needed = capacity.share(100 - self.weight, replicas)
        return needed if self.settled else max(needed, min(present, replicas))

    @property
    def _candidate_share(self) -> int:
        replicas, present = self.spec.replicas, self.runs_candidate.replicas
        if self.state is State.RETREATING:
            # Whoever loses traffic keeps what it has until weight 0 is verified.
            return min(present, replicas)
        # Where the stable version answers nobody, the candidate should be able to answer all.
        alone = self.stable is not None and self.asked > 0 and self.runs_stable.ready == 0
        wanted = replicas if alone else self.candidate_need
        if wanted >= present or self.stable is None:
            return wanted
        return max(wanted, capacity.share(self.weight, replicas) if self.settled else min(present, replicas))

    # --------------------------------------------------------------------------------------------- traffic

    @cached_property
    def seen(self) -> Seen:
        route = self.spec.route
        return gateway_api.seen(self.observed, route) if route else service.seen(self.observed)

    @cached_property
    def weights(self) -> Weights | None:
        """The fact about traffic as it is to be recorded now."""
        if self.stable is None:
            return None
        return note(self.seen, self.facts.weights, candidate=self.candidate, now=self.now, counting=self.counting)

    @cached_property
    def counting(self) -> bool:
        """Whether the servers' requests come in the proportion of the weights alone, so that it tells whether the
        gateway follows.

        They do not behind a plain Service (a client that keeps its connection stays with one pod); where copies,
        testers, a preview or a person's test reach the candidate too; where clients stay (some send more than others);
        and where not every pod is asked. At weight 0 whatever reaches the candidate comes by another way.
        """
        route = self.spec.route
        if route is None or self.stable is None or not self.seen.share.get(self.candidate or "", 0):
            return False
        aside = self.seen.mirror or self.seen.aside or self.observed.preview or self.observed.tests
        stays = route.stickiness or "loadBalancer" in (self.observed.policy or {}).get("spec", {})
        many = max(len(side.answering) for side in (self.runs_stable, self.runs_candidate)) > PODS
        return not (aside or stays or many)

    @cached_property
    def weight(self) -> int:
        """Percent that the candidate should get now."""
        if self.spec.replicas == 0:
            return self.asked
        return candidate_weight(self.asked, able=self.able, most=self._most, stable_ready=self.runs_stable.ready)

    @property
    def able(self) -> int:
        """Percent that the candidate's ready replicas carry.

        Behind a Service, and in place, the nearest number of replicas is taken for the share that the step asks for.
        Otherwise they are compared with those that carry everything now, which are fewer than spec.replicas while an
        autoscaler's new ones start: else each of its moves would move traffic too.
        """
        ready, replicas = self.runs_candidate.ready, self.spec.replicas
        if self.spec.route is None or not self.surge:
            return 100 if ready and self.candidate_whole else carries(ready, replicas)
        shares = self.spec.strategy.stable_scale == "Share"
        there = self.runs_stable.ready + (ready if shares else 0)
        return carries(ready, max(1, min(replicas, there)) if self.runs_stable.ready else replicas)

    @property
    def _most(self) -> int:
        """Percent above which the candidate's weight does not go yet: a step is one write, when the candidate is whole
        for it. In place it follows each replica."""
        if self.candidate_whole or not self.surge:
            return 100
        live = self.seen.share.get(self.candidate or "", 0)
        return max(live, program.before(self.facts, self.steps))

    @cached_property
    def backends(self) -> Mapping[str, int]:
        """Weights by version that the route should have.

        A candidate joins when it is whole, stays until it is retired, and leaves when its time has come. The set of
        backends only ever changes at weight 0, and not in the same write as a weight.
        """
        if self.stable is None:
            return {}
        share = {self.stable: 100}
        if self.candidate and (self.candidate in self.seen.holds or self._may_join):
            share = {self.stable: 100 - self.weight, self.candidate: self.weight}
        moves = any(self.seen.share.get(version, 0) != weight for version, weight in share.items())
        stay = [
            r.model_version
            for r in self.facts.retiring
            if self.now < parse_time(r.scale_down_at) or (moves and r.model_version in self.seen.holds)
        ]
        return share | dict.fromkeys(stay, 0)

    @property
    def _may_join(self) -> bool:
        return self.state is not State.RETREATING and self.candidate_whole

    @cached_property
    def traffic(self) -> Manifest | None:
        """The route, or the Service in its stead, as it should be; None before anything serves."""
        owner, route = self.observed.object, self.spec.route
        if self.stable is None:
            return None
        if route is not None:
            slotted = self.stable if self._slotted else None
            return gateway_api.manifest(owner, self.spec, route, self.backends, self.extras, slotted=slotted)
        others = set(self.observed.running) - {self.stable, self.candidate}
        # "Both" is the selector of all pods that serve: no third version may be among them.
        weight = 0 if others and self.weight < 100 else self.weight
        return service.manifest(owner, stable=self.stable, candidate=self.candidate, weight=weight)

    @property
    def _slotted(self) -> bool:
        """Whether the backends stand in slots: for Envoy Gateway, and for a hash whoever the gateway is. Once there
        they stay: leaving them renames the gateway's clusters, which costs requests."""
        route, live = self.spec.route, self.observed.route
        hashed = route is not None and route.stickiness is not None
        stands = live is not None and sticky.in_slots(live)
        return hashed or stands or bool(features.envoy_gateway(self.observed.gateway_class))

    @cached_property
    def policy(self) -> Manifest | None:
        """What only Envoy Gateway is able to do for the route, as it should be; None where nothing is needed."""
        route = self.spec.route
        if route is None or self.stable is None or not self.observed.policies:
            return None
        mirrors = self.candidate is not None and any(step.mirror for step in self.steps)
        # It stands before the first copy and until after the last one.
        copies = (mirrors and self.state is not State.RETREATING) or self.seen.mirror > 0
        followed = self.weights is not None and self.weights.verified
        before = (self.observed.policy or {}).get("spec", {})
        copies = copies or ("requestBuffer" in before and not followed)
        envoy = features.envoy_gateway(self.observed.gateway_class) is not False
        # A hash over backends that do not stand in slots ignores the weights: first the slots, then the hash.
        slotted = self.observed.route is not None and sticky.in_slots(self.observed.route)
        hashed = route.stickiness if slotted and ("loadBalancer" in before or followed) else None
        buffer = self.observed.defaults.max_body_bytes if copies and envoy else None
        return policy.manifest(self.observed.object, stickiness=hashed, buffer=buffer)

    @property
    def _policed(self) -> bool:
        """Whether copies may begin: whoever is known to heed the policy has taken it over."""
        route = self.spec.route
        if route is None or not features.envoy_gateway(self.observed.gateway_class) or not self.observed.policies:
            return True
        live = self.observed.policy
        if live is None or self.policy is None or differs(self.policy, live):
            return False
        return self.policy_answer.accepted

    @cached_property
    def policy_answer(self) -> Taken:
        """What the gateway says to the live policy."""
        route = self.spec.route
        if route is None:
            return Taken()
        return policy.taken(self.observed.policy, gateway_api.parent_ref(route.gateway, self.observed.namespace))

    @property
    def policy_waits(self) -> bool:
        """Whether a live policy that is needed was not taken over, by a gateway that is not known to know none."""
        heeded = features.envoy_gateway(self.observed.gateway_class) is not False
        needed = self.policy is not None and self.observed.policy is not None
        return needed and heeded and not self.policy_answer.accepted

    @cached_property
    def extras(self) -> gateway_api.Extras:
        """Who else reaches the candidate: copies, and requests with a header. Only once it is in the route."""
        step = self.here
        if step is None or self.candidate is None or self.candidate not in self.seen.holds:
            return gateway_api.Extras()
        return gateway_api.Extras(self.candidate, step.mirror if self._policed else 0, step.header)

    @cached_property
    def preview(self) -> Manifest | None:
        """The route of the preview host name, while there is a candidate that is whole and not on its way out."""
        plan, route = self.spec.strategy.blue_green, self.spec.route
        if plan is None or plan.preview_hostname is None or route is None or self.stable is None:
            return None
        if self.candidate is None or self.state is State.RETREATING or self.candidate not in self.seen.holds:
            return None
        return gateway_api.preview(self.observed.object, self.spec, route, plan.preview_hostname, self.candidate)

    @property
    def preview_ready(self) -> bool:
        """Whether the preview, where one is wanted, was taken over by the gateway."""
        if self.spec.strategy.blue_green is None or self.spec.strategy.blue_green.preview_hostname is None:
            return True
        route, live = self.spec.route, self.observed.preview
        if route is None or self.preview is None or live is None or traffic_differs(self.preview, live):
            return False
        return gateway_api.taken_over(live, route, self.observed.namespace)

    @property
    def live_traffic(self) -> Manifest | None:
        return self.observed.route if self.spec.route else self.observed.front

    @cached_property
    def in_place(self) -> bool:
        """Whether the live route or Service is as it should be."""
        wanted, live = self.traffic, self.live_traffic
        return wanted is not None and live is not None and not traffic_differs(wanted, live)

    @property
    def settled(self) -> bool:
        """Whether it is, and was seen to be followed."""
        return self.in_place and self.weights is not None and self.weights.verified

    # ------------------------------------------------------------------------------------- what happened

    @property
    def verb(self) -> Event | None:
        """What a person asks for; None where nothing new is asked."""
        action = self.observed.action
        return next((v for v in VERBS if v == action), None) if self.asked_anew else None

    @property
    def asked_anew(self) -> bool:
        """Whether a person asks for something that was not answered yet."""
        return asked_anew(self.observed.action, self.facts.last_action)

    @cached_property
    def deadline(self) -> datetime | None:
        """When the progress deadline ends; None where no clock runs: the candidate is whole, or nothing starts."""
        rollout = self.facts.rollout
        if rollout is None or self.candidate is None or self.candidate_whole:
            return None
        begun = parse_time(rollout.started_at)
        if not self.surge:
            # Replica by replica: each one that gets ready, or is lost, starts the clock anew.
            step = self.facts.step.started_at if self.facts.step else rollout.started_at
            moved = self.runs_candidate.moved_at
            begun = max(parse_time(step), parse_time(moved) if moved else begun)
        elif self.facts.step is not None:
            # It was whole when the steps began: the clock runs since it is not, or since the step asks for more.
            since = self.runs_candidate.short_since
            begun = max(parse_time(self.facts.step.started_at), parse_time(since) if since else begun)
        return begun + timedelta(seconds=seconds(self.spec.progress_deadline))

    @property
    def pause_ends(self) -> datetime | None:
        """When the timed pause ends."""
        if self.state is not State.WAIT or self.facts.step is None or self.here is None:
            return None
        return parse_time(self.facts.step.started_at) + timedelta(seconds=self.here.lasts or 0.0)

    # ------------------------------------------------------------------------------------------- evidence

    @cached_property
    def watched(self) -> tuple[Watched, ...]:
        """The metrics that are judged now."""
        if self.facts.step is None or self.here is None or self.stable is None:
            return ()
        analysis, terms = self.spec.analysis, self.here.shadow
        both = self.to_watch if analysis and (analysis.background or self.state is State.ANALYSING) else ()
        if terms is None:
            return both
        return (*both, Watched(DISAGREEMENT, float(terms.max_disagreement), terms.min_samples, alone=True))

    @property
    def to_watch(self) -> tuple[Watched, ...]:
        """The metrics of spec.analysis, judged now or later."""
        metrics = self.spec.analysis.metrics if self.spec.analysis else []
        return tuple(Watched(m.name, float(m.max_increase), m.min_samples, question=m.question) for m in metrics)

    @property
    def questions(self) -> str:
        """A digest of what is counted under each name."""
        asked = "\0".join(f"{m.name} {m.question}" for m in self.to_watch if m.question)
        return hashlib.sha256(asked.encode()).hexdigest()[:12] if asked else ""

    @property
    def bar(self) -> float:
        """The e-value at which a verdict is given: all the metrics of the whole rollout share the error."""
        count = len(self.spec.analysis.metrics) if self.spec.analysis else 0
        return judge.needed(count + sum(step.shadow is not None for step in self.steps))

    @property
    def watching(self) -> bool:
        """Whether the counters are to be read: something is judged, a look back will need them, or they tell whether
        the traffic comes in the asked proportion."""
        if self.candidate is None or self.stable is None or self.state is State.RETREATING:
            return False
        if self.watched or self.remembers:
            return True
        # Whatever state it is in: traffic that was seen not to follow is watched until it does.
        return self.counting and (self.state in (State.STEP, State.PROMOTING) or stray(self.facts.weights) is not None)

    @property
    def remembers(self) -> bool:
        """Whether what the stable version shows counts for a look back after a switch also where it is not judged: from
        the beginning of the rollout, and for as long as that lies ahead."""
        if self.spec.analysis is None or self.asked == 100:
            return False
        ahead = any(step.state is State.ANALYSING and step.weight == 100 for step in self.steps)
        return self.state is State.STARTING or (ahead and self.facts.step is not None)

    @property
    def judged_from(self) -> datetime | None:
        """The earliest moment at which an analysis may pass."""
        if self.facts.step is None or self.here is None:
            return None
        return parse_time(self.facts.step.started_at) + timedelta(seconds=self.here.lasts or 0.0)

    @property
    def inconclusive_at(self) -> datetime | None:
        """When an analysis must have come to a verdict."""
        if self.state not in (State.ANALYSING, State.SHADOWING) or self.facts.step is None or self.here is None:
            return None
        longest = seconds(self.longest)
        return parse_time(self.facts.step.started_at) + timedelta(seconds=max(longest, self.here.lasts or 0.0))

    @property
    def longest(self) -> str:
        """How long the analysis or the comparison of this step may take: as it says itself, else as spec.analysis."""
        shadow = self.here.shadow if self.here else None
        if shadow is not None and shadow.max_duration is not None:
            return shadow.max_duration
        return self.spec.analysis.max_duration if self.spec.analysis else LONGEST_SHADOW

    @property
    def on_inconclusive(self) -> str:
        """What follows where it has come to none."""
        shadow = self.here.shadow if self.here else None
        if shadow is not None and shadow.on_inconclusive is not None:
            return shadow.on_inconclusive
        return self.spec.analysis.on_inconclusive if self.spec.analysis else "Pause"

    @property
    def test(self) -> Manifest | None:
        """The Job that judges the candidate of this rollout."""
        name = self.test_name
        return next((job for job in self.observed.tests if job["metadata"]["name"] == name), None)

    @property
    def test_name(self) -> str | None:
        """Its name: another one for each try."""
        if self.candidate is None or self.facts.rollout is None or self.facts.step is None:
            return None
        return children.test_name(self.observed.name, self.candidate, self.facts.step.started_at)


def traffic_differs(wanted: Manifest, live: Manifest) -> bool:
    """Whether the live route or Service must be written.

    Beyond the usual comparison, a key that is no longer wanted counts where its presence alone means something: in a
    selector, ``sectionName`` in a parentRef, and the filter that copies requests.
    """
    if differs(wanted, live):
        return True
    here, there = wanted["spec"], live["spec"]
    if "selector" in here:
        return bool(here["selector"] != there.get("selector"))
    if [r.get("filters", []) for r in here["rules"]] != [r.get("filters", []) for r in there["rules"]]:
        return True
    return any(
        ("sectionName" in ours) != ("sectionName" in theirs)
        for ours, theirs in zip(here["parentRefs"], there["parentRefs"], strict=True)
    )


def _side(running: Running) -> capacity.Side:
    return capacity.Side(asked=running.replicas, there=running.living, ready=running.ready)
