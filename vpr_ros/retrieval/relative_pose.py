"""The metric pose of one view in another, from rays that correspond and depths that are only guessed.

Two views alone know the direction of the way between them but not its length. Hallucinated depth knows lengths, each
point's badly and all of them with one common error of scale. Both go into one least squares problem: the rays weigh
each point's depth against the others', the guesses give the scale, and the inverse of the normal equations says how
well everything is known (Triggs et al., Bundle Adjustment: A Modern Synthesis, 2000, with depths as priors).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros import geometry
from vpr_ros.retrieval.two_view import Start, distinct_turns

SIGMA_PX = 1.3  # of a feature's place in the image
SIGMA_LOG_DEPTH = 0.5  # of one hallucinated depth, as a share
SIGMA_LOG_SCALE = 0.25  # of the scale that all hallucinated depths of a pair share
_FLOOR = np.diag(np.square([0.015] * 3 + [np.radians(0.1)] * 3))  # what no residual shows: lens, clock, mount
_HUBER = 2.0  # standard deviations beyond which a depth counts less
_WRONG = 2.0  # standard deviations at which a correspondence is as likely wrong as right
_HEATS = ((1, 6), (3, 4), (15, 4))  # iterations, and how many of the best go on after them
_SAME_END = np.array([0.03] * 3 + [np.radians(0.3)] * 3)  # states nearer than this will end as one
_HOPELESS = 1.5  # times the best one's cost
_DOUBT = 10.0  # more cost that makes another end e times less likely; residuals are not independent
_FARTHEST_LOG = np.log(500.0)
_NEAREST_LOG = np.log(0.3)


@dataclass(frozen=True, eq=False)
class RelativePose:
    """T_place_query: (4, 4), metres, optical frames. covariance: (6, 6) of it, order x y z roll pitch yaw about the
    place's axes. depths: (N,) metres of each point in the place's camera. errors_px: (N,) distance of each point from
    its ray in the query, pixels.
    """

    T_place_query: np.ndarray
    covariance: np.ndarray
    depths: np.ndarray
    errors_px: np.ndarray


def relative_pose(
    rays_place: np.ndarray,
    rays_query: np.ndarray,
    depths_place: np.ndarray,
    depths_query: np.ndarray,
    pixel: float,
    starts: list[Start],
) -> RelativePose | None:
    """Adjust pose and depths to N corresponding rays (N, 2), some wrong, and guessed depths (N,), 0 where unknown.

    pixel: of the query, in units of rays. starts: where to begin; the best end is taken. None where none converges.
    """
    if np.count_nonzero(depths_place) < 6:
        return None
    problem = _Problem(rays_place, rays_query, depths_place, depths_query, pixel)
    begun = [problem.begin(R) for R in distinct_turns(starts)]
    begun += [problem.begin_along(start.R_query_place, start.way) for start in starts if start.way is not None]
    for iterations, count in _HEATS:
        begun = problem.best([problem.adjusted(state, iterations) for state in begun], count)
    return problem.result(begun)


@dataclass(frozen=True, eq=False)
class _State:
    """R_place_query (3, 3), t_place_query (3,), logs of depths in the place (N,), log of their common scale."""

    R: np.ndarray
    t: np.ndarray
    logs: np.ndarray
    scale: float


class _Problem:
    """Residuals, each over its standard deviation: the query's rays (N, 2), the place's and the query's depths (N,)."""

    def __init__(
        self,
        rays_place: np.ndarray,
        rays_query: np.ndarray,
        depths_place: np.ndarray,
        depths_query: np.ndarray,
        pixel: float,
    ) -> None:
        self.directions = np.column_stack([rays_place, np.ones(len(rays_place))]).astype(float)
        self.rays = rays_query.astype(float)
        self.pixel = pixel
        self.known = [depths_place > 0, depths_query > 0]
        self.guesses = [
            np.log(np.where(known, depths, 1.0).astype(float))
            for known, depths in zip(self.known, (depths_place, depths_query), strict=True)
        ]

    def best(self, states: list[_State], count: int) -> list[_State]:
        """Those that cost least, best first, of nearly equal ones one, and none that costs far more than the best."""
        kept: list[_State] = []
        costs = {id(state): self.cost(state) for state in states}
        for state in sorted(states, key=lambda state: costs[id(state)]):
            new = all(np.any(np.abs(_difference(state, other)) > _SAME_END) for other in kept)
            if new and len(kept) < count and costs[id(state)] <= _HOPELESS * costs[id(kept[0] if kept else state)]:
                kept.append(state)
        return kept

    def begin_along(self, R_query_place: np.ndarray, way: np.ndarray) -> _State:
        """A translation in this direction (3,), as long as makes triangulated depths those guessed."""
        turned, seen = self.directions @ R_query_place.T, np.column_stack([self.rays, np.ones(len(self.rays))])
        across = np.cross(seen, turned)
        depths = -np.sum(across * np.cross(seen, way), axis=1) / np.maximum(np.sum(across**2, axis=1), 1e-12)
        guesses = np.exp(self.guesses[0])
        usable = self.known[0] & (depths > 0)
        length = float(np.median(guesses[usable] / depths[usable])) if usable.any() else 0.0
        logs = np.log(np.clip(np.where(usable, length * depths, guesses), np.exp(_NEAREST_LOG), np.exp(_FARTHEST_LOG)))
        return _State(R_query_place.T, -length * R_query_place.T @ way, logs, 0.0)

    def begin(self, R_query_place: np.ndarray) -> _State:
        """The translation that fits best with the depths as guessed: linear, the points' own errors weighed down."""
        known = self.known[0]
        turned = (self.directions * np.exp(self.guesses[0])[:, None])[known] @ R_query_place.T
        u, v = self.rays[known].T
        # u (z + tz) = x + tx, v (z + tz) = y + ty
        zero, one = np.zeros(len(u)), np.ones(len(u))
        A = np.concatenate([np.column_stack([one, zero, -u]), np.column_stack([zero, one, -v])])
        b = np.concatenate([u * turned[:, 2] - turned[:, 0], v * turned[:, 2] - turned[:, 1]])
        weights = 1 / np.tile(turned[:, 2].clip(1.0), 2)
        t: np.ndarray = np.zeros(3)
        for _ in range(5):
            t = np.linalg.lstsq(A * weights[:, None], b * weights, rcond=None)[0]
            residuals = np.abs(A @ t - b) / np.tile(turned[:, 2].clip(1.0), 2)
            spread = max(float(np.median(residuals)), self.pixel)
            weights = 1 / np.tile(turned[:, 2].clip(1.0), 2) / (1 + (residuals / spread) ** 2)
        R_place_query = R_query_place.T
        logs = np.where(known, self.guesses[0], np.median(self.guesses[0][known]))
        return _State(R_place_query, -R_place_query @ t, logs, 0.0)

    def adjusted(self, state: _State, iterations: int) -> _State:
        """Levenberg-Marquardt until nothing is gained, for some iterations at most."""
        cost, damping = self.cost(state), 1e-3
        for _ in range(iterations):
            trial = self.stepped(state, damping)
            trial_cost = self.cost(trial)
            if trial_cost >= cost:
                damping *= 10
                continue
            done = cost - trial_cost < 1e-4 * cost
            state, cost, damping = trial, trial_cost, 0.3 * damping
            if done:
                break
        return state

    def residuals(self, state: _State) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Points in the query's frame (N, 3), and the three kinds of residual."""
        points = (self.directions * np.exp(state.logs)[:, None] - state.t) @ state.R
        z = np.maximum(points[:, 2], 1e-2)
        image = (points[:, :2] / z[:, None] - self.rays) / (self.pixel * SIGMA_PX)
        place = np.where(self.known[0], (state.logs - self.guesses[0] - state.scale) / SIGMA_LOG_DEPTH, 0.0)
        query = np.where(self.known[1], (np.log(z) - self.guesses[1] - state.scale) / SIGMA_LOG_DEPTH, 0.0)
        return points, image, place, query

    def cost(self, state: _State) -> float:
        """Sum of Geman and McClure's losses: a correspondence that is wrong costs the same however wrong it is."""
        _, image, place, query = self.residuals(state)
        total = _total(image, place, query)
        return float(np.sum(total / (1 + total / _WRONG**2))) + (state.scale / SIGMA_LOG_SCALE) ** 2

    def normal_equations(self, state: _State) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Hessian and gradient by pose and scale (7, 7), (7,), by depths (N,), (N,), and of both (7, N)."""
        points, image, place, query = self.residuals(state)
        count = len(points)
        z = np.maximum(points[:, 2], 1e-2)
        project = np.zeros((count, 3, 3))  # of the point in the query: to its ray, and to the log of its depth
        project[:, 0, 0] = project[:, 1, 1] = 1 / z
        project[:, :2, 2] = -points[:, :2] / z[:, None] ** 2
        project[:, :2] /= self.pixel * SIGMA_PX
        project[:, 2, 2] = self.known[1] / z / SIGMA_LOG_DEPTH
        from_place = self.directions * np.exp(state.logs)[:, None]
        lever = from_place - state.t
        by_pose = np.zeros((count, 3, 6))
        by_pose[:, :, :3] = -state.R.T
        by_pose[:, :, 3:] = state.R.T @ _cross(lever)
        J_pose = np.zeros((count, 4, 7))  # rows: ray (2), depth in the query, depth in the place
        J_pose[:, :3, :6] = project @ by_pose
        J_pose[:, 2, 6] = -1.0 * self.known[1] / SIGMA_LOG_DEPTH
        J_pose[:, 3, 6] = -1.0 * self.known[0] / SIGMA_LOG_DEPTH
        J_depth = np.zeros((count, 4))
        J_depth[:, :3] = (project @ (from_place @ state.R)[:, :, None])[:, :, 0]
        J_depth[:, 3] = self.known[0] / SIGMA_LOG_DEPTH
        r = np.column_stack([image, query, place])
        right = 1 / (1 + _total(image, place, query) / _WRONG**2) ** 2
        w = right[:, None] * np.column_stack([np.ones((count, 2)), _weight(query), _weight(place)])
        H_pose = np.einsum("nri,nr,nrj->ij", J_pose, w, J_pose)
        g_pose = np.einsum("nri,nr,nr->i", J_pose, w, r)
        H_pose[6, 6] += 1 / SIGMA_LOG_SCALE**2
        g_pose[6] += state.scale / SIGMA_LOG_SCALE**2
        H_depth = np.einsum("nr,nr,nr->n", J_depth, w, J_depth) + 1e-9
        g_depth = np.einsum("nr,nr,nr->n", J_depth, w, r)
        H_both = np.einsum("nri,nr,nr->in", J_pose, w, J_depth)
        return H_pose, g_pose, H_depth, g_depth, H_both

    def stepped(self, state: _State, damping: float) -> _State:
        """One Levenberg-Marquardt step, the depths eliminated (Schur complement)."""
        H_pose, g_pose, H_depth, g_depth, H_both = self.normal_equations(state)
        H_pose = H_pose + damping * np.diag(np.diag(H_pose))
        H_depth = H_depth * (1 + damping)
        S = H_pose - (H_both / H_depth) @ H_both.T
        d_pose = np.linalg.solve(S, -(g_pose - H_both @ (g_depth / H_depth)))
        d_logs = -(g_depth + H_both.T @ d_pose) / H_depth
        R = geometry.rotation_from_vector(d_pose[3:6]) @ state.R
        logs = np.clip(state.logs + np.clip(d_logs, -1.0, 1.0), _NEAREST_LOG, _FARTHEST_LOG)
        return _State(R, state.t + d_pose[:3], logs, state.scale + float(d_pose[6]))

    def result(self, ends: list[_State]) -> RelativePose | None:
        """The end that costs least. Its covariance knows of the others: what fits nearly as well may be the truth."""
        costs = np.array([self.cost(end) for end in ends])
        best = ends[int(costs.argmin())]
        covariance = self.covariance(best)
        if covariance is None:
            return None
        weights, apart = np.exp(-(costs - costs.min()) / _DOUBT), [_difference(end, best) for end in ends]
        spread = np.einsum("k,ki,kj->ij", weights, apart, apart) / weights.sum()
        points, image, _, _ = self.residuals(best)
        errors = np.where(points[:, 2] > 0, np.linalg.norm(image, axis=1) * SIGMA_PX, np.inf)
        T_place_query = geometry.transform(best.R, best.t)
        return RelativePose(T_place_query, covariance + spread + _FLOOR, np.exp(best.logs), errors)

    def covariance(self, state: _State) -> np.ndarray | None:
        """(6, 6): inverse of the normal equations; None where they have none."""
        H_pose, _, H_depth, _, H_both = self.normal_equations(state)
        try:
            covariance = np.linalg.inv(H_pose - (H_both / H_depth) @ H_both.T)[:6, :6]
            covariance = 0.5 * (covariance + covariance.T)
            positive = np.isfinite(covariance).all() and np.linalg.eigvalsh(covariance)[0] > 0
        except np.linalg.LinAlgError:
            return None
        return covariance if positive else None


def _difference(state: _State, other: _State) -> np.ndarray:
    """(6,) translation and rotation vector from another state, about the place's axes."""
    return np.concatenate([state.t - other.t, geometry.vector_from_rotation(state.R @ other.R.T)])


def _cross(vectors: np.ndarray) -> np.ndarray:
    """(N, 3) -> (N, 3, 3) so that the result times w is v x w."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([np.stack([zero, -z, y], 1), np.stack([z, zero, -x], 1), np.stack([-y, x, zero], 1)], 1)


def _total(image: np.ndarray, place: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(N,) squared residual of each correspondence: (N, 2) of its ray, (N,) of its two depths."""
    return np.sum(image**2, axis=1) + _huber(place) + _huber(query)


def _huber(r: np.ndarray) -> np.ndarray:
    size = np.abs(r)
    return np.where(size <= _HUBER, size**2, _HUBER * (2 * size - _HUBER))


def _weight(r: np.ndarray) -> np.ndarray:
    return np.minimum(1.0, _HUBER / np.maximum(np.abs(r), 1e-12))
