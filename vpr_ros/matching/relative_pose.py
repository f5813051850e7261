"""The relative pose of two views, in metres, from corresponding rays and depths.

Two views give the direction of the translation, but not its length. Depths give the length: measured ones
(``triangulation``), and hallucinated ones for the rest. Each hallucinated depth is inexact, and all share an error of
scale and one of contrast: an unsure network draws near and far together, in both images alike. One least squares
problem holds rays and depths of both views. The inverse of its normal equations gives the covariance (Triggs et al.,
Bundle Adjustment: A Modern Synthesis, 2000, with depths as priors). The contrast is not estimated, since points drawn
to one depth fit any rays. Its effect on the pose is added to the covariance instead (a consider parameter: Schmidt
1966).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.base import geometry
from vpr_ros.matching.constants import POSE_NOISE, POSE_SEARCH, TWO_VIEW
from vpr_ros.matching.two_view import Start, distinct_rotations

_FLOOR = np.diag(np.square([POSE_NOISE.floor_m] * 3 + [POSE_NOISE.floor_rad] * 3))
_SAME_END = np.array([POSE_SEARCH.same_m] * 3 + [POSE_SEARCH.same_rad] * 3)
_NEAREST_LOG, _FARTHEST_LOG = np.log(POSE_SEARCH.nearest_m), np.log(POSE_SEARCH.farthest_m)


@dataclass(frozen=True, eq=False)
class Correspondences:
    """N features of one or several places, and of the query, that match.

    Of several places, the first is the reference. origins: (N, 3) positions of the places' cameras in its optical
    frame, metres. directions: (N, 3) rays from there, along its axes: a point is at origin + depth * direction.
    depths_place, depths_query: (N,) metres, 0 if unknown. sigmas_place, sigmas_query: (N,) standard deviations of log
    depths that were measured (``triangulation``), infinite for hallucinated ones. rays_query: (N, 2). pixel: of the
    query, in units of rays.
    """

    directions: np.ndarray
    origins: np.ndarray
    depths_place: np.ndarray
    sigmas_place: np.ndarray
    rays_query: np.ndarray
    depths_query: np.ndarray
    sigmas_query: np.ndarray
    pixel: float


@dataclass(frozen=True, eq=False)
class RelativePose:
    """The pose of the query's camera in the place's.

    T_place_query: (4, 4), metres, optical frames. covariance: (6, 6), order x y z roll pitch yaw about the place's
    axes, metres and radians. depths: (N,) metres of each point in the place's camera. errors_px: (N,) reprojection
    error of each point in the query, pixels.
    """

    T_place_query: np.ndarray
    covariance: np.ndarray
    depths: np.ndarray
    errors_px: np.ndarray


def relative_pose(seen: Correspondences, starts: list[Start]) -> RelativePose | None:
    """Fit pose and depths to correspondences with one place, some of them wrong.

    starts: initial motions; the solution with the lowest cost is returned. None if there are too few depths or no
    solution.
    """
    if np.count_nonzero(seen.depths_place) < TWO_VIEW.pnp_points:
        return None
    problem = _Problem(seen)
    begun = [problem.begin(R) for R in distinct_rotations(starts)]
    begun += [
        problem.begin_along(start.R_query_place, start.direction) for start in starts if start.direction is not None
    ]
    return problem.optimum(begun)


def pose_near(seen: Correspondences, T_place_query: np.ndarray, covariance: np.ndarray) -> RelativePose | None:
    """Fit pose and depths to correspondences with one or several places, some of them wrong, and a prior pose.

    T_place_query, covariance: (4, 4) and (6, 6) of the prior, as in the result. None if there are too few depths or no
    solution.
    """
    if np.count_nonzero(seen.depths_place) < TWO_VIEW.pnp_points:
        return None
    problem = _Problem(seen, (T_place_query, np.linalg.inv(covariance)))
    R, t = T_place_query[:3, :3], T_place_query[:3, 3]
    return problem.optimum([problem.state(R, t, problem.guesses[0]), problem.begin(R.T)])


@dataclass(frozen=True, eq=False)
class _State:
    """Parameters: R_place_query (3, 3), t_place_query (3,), log depths in the place (N,), log of their common scale.

    And what follows from them: points in the query's frame (N, 3), residuals of rays (N, 2) and of depths in the place
    and the query (N,), (N,), and the cost.
    """

    R: np.ndarray
    t: np.ndarray
    logs: np.ndarray
    scale: float
    points: np.ndarray
    image: np.ndarray
    place: np.ndarray
    query: np.ndarray
    cost: float


@dataclass(frozen=True, eq=False)
class _Equations:
    """Hessian and gradient for pose and scale (7, 7), (7,), for depths (N,), (N,), and the mixed Hessian (7, N).

    8 instead of 7 if the contrast is included.
    """

    H_pose: np.ndarray
    g_pose: np.ndarray
    H_depth: np.ndarray
    g_depth: np.ndarray
    H_both: np.ndarray


class _Problem:
    """The least squares problem. Residuals are in standard deviations: rays (N, 2), depths in both views (N,)."""

    def __init__(self, seen: Correspondences, prior: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        """prior: pose (4, 4) of the query in the reference place, and its information (6, 6)."""
        self.directions, self.origins, self.prior = seen.directions.astype(float), seen.origins.astype(float), prior
        self.rays = seen.rays_query.astype(float)
        self.pixel = seen.pixel
        depths_place, depths_query = seen.depths_place, seen.depths_query
        self.known = [depths_place > 0, depths_query > 0]
        self.guesses = [
            np.log(np.where(known, depths, 1.0).astype(float))
            for known, depths in zip(self.known, (depths_place, depths_query), strict=True)
        ]
        middle = np.median(self.guesses[0][self.known[0]])
        measured = [np.isfinite(sigmas) for sigmas in (seen.sigmas_place, seen.sigmas_query)]
        self.sigmas = [
            np.where(known, sigmas, POSE_NOISE.log_depth)
            for known, sigmas in zip(measured, (seen.sigmas_place, seen.sigmas_query), strict=True)
        ]
        self.hallucinated = [known & ~exact for known, exact in zip(self.known, measured, strict=True)]
        # Derivatives of the depths' residuals by log scale and contrast, (N, 2) each.
        self.by_common = [
            known[:, None] * np.column_stack([np.ones(len(guesses)), guesses - middle]) / -POSE_NOISE.log_depth
            for known, guesses in zip(self.hallucinated, self.guesses, strict=True)
        ]

    def state(self, R: np.ndarray, t: np.ndarray, logs: np.ndarray, scale: float = 0.0) -> _State:
        """A state with its residuals and cost.

        The cost is a sum of Geman-McClure losses: beyond a limit, the cost of a wrong correspondence does not grow.
        """
        points = (self.origins + self.directions * np.exp(logs)[:, None] - t) @ R
        z = np.maximum(points[:, 2], 1e-2)
        image = (points[:, :2] / z[:, None] - self.rays) / (self.pixel * POSE_NOISE.feature_px)
        place, query = (
            np.where(known, (there - guesses - scale * hallucinated) / sigmas, 0.0)
            for there, known, guesses, hallucinated, sigmas in zip(
                (logs, np.log(z)), self.known, self.guesses, self.hallucinated, self.sigmas, strict=True
            )
        )
        total = _total(image, place, query)
        cost = float(np.sum(total / (1 + total / POSE_NOISE.outlier**2))) + (scale / POSE_NOISE.log_scale) ** 2
        if self.prior is not None:
            away = self.from_prior(R, t)
            cost += float(away @ self.prior[1] @ away)
        return _State(R, t, logs, scale, points, image, place, query, cost)

    def from_prior(self, R: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Translation and rotation vector (6,) from the prior pose, about the place's axes."""
        assert self.prior is not None
        return geometry.difference(geometry.transform(R, t), self.prior[0])

    def optimum(self, begun: list[_State]) -> RelativePose | None:
        """The best solution that is found from these states; None if it is singular."""
        for iterations, count in POSE_SEARCH.rounds:
            begun = self.best([self.adjusted(state, iterations) for state in begun], count)
        return self.result(begun)

    @staticmethod
    def best(states: list[_State], count: int) -> list[_State]:
        """Up to count distinct states of lowest cost, best first, without those far worse than the best."""
        kept: list[_State] = []
        for state in sorted(states, key=lambda state: state.cost):
            if len(kept) == count or (kept and state.cost > POSE_SEARCH.hopeless * kept[0].cost):
                break
            if all(_apart(state, other) for other in kept):
                kept.append(state)
        return kept

    def begin_along(self, R_query_place: np.ndarray, direction: np.ndarray) -> _State:
        """Initial state: a translation in this direction (3,), so long that triangulated depths fit the given ones."""
        turned, seen = self.directions @ R_query_place.T, np.column_stack([self.rays, np.ones(len(self.rays))])
        across = np.cross(seen, turned)
        depths = -np.sum(across * np.cross(seen, direction), axis=1) / np.maximum(np.sum(across**2, axis=1), 1e-12)
        guesses = np.exp(self.guesses[0])
        usable = self.known[0] & (depths > 0)
        length = float(np.median(guesses[usable] / depths[usable])) if usable.any() else 0.0
        logs = np.log(np.clip(np.where(usable, length * depths, guesses), np.exp(_NEAREST_LOG), np.exp(_FARTHEST_LOG)))
        return self.state(R_query_place.T, -length * R_query_place.T @ direction, logs)

    def begin(self, R_query_place: np.ndarray) -> _State:
        """Initial state: the translation that fits the given depths best; linear, reweighted against outliers."""
        known = self.known[0]
        turned = (self.origins + self.directions * np.exp(self.guesses[0])[:, None])[known] @ R_query_place.T
        u, v = self.rays[known].T
        # u (z + tz) = x + tx, v (z + tz) = y + ty
        zero, one = np.zeros(len(u)), np.ones(len(u))
        A = np.concatenate([np.column_stack([one, zero, -u]), np.column_stack([zero, one, -v])])
        b = np.concatenate([u * turned[:, 2] - turned[:, 0], v * turned[:, 2] - turned[:, 1]])
        weights = 1 / np.tile(turned[:, 2].clip(1.0), 2)
        t: np.ndarray = np.zeros(3)
        for _ in range(5):
            weighted = A.T * weights**2
            t = np.linalg.solve(weighted @ A + 1e-9 * np.eye(3), weighted @ b)
            residuals = np.abs(A @ t - b) / np.tile(turned[:, 2].clip(1.0), 2)
            spread = max(float(np.median(residuals)), self.pixel)
            weights = 1 / np.tile(turned[:, 2].clip(1.0), 2) / (1 + (residuals / spread) ** 2)
        R_place_query = R_query_place.T
        logs = np.where(known, self.guesses[0], np.median(self.guesses[0][known]))
        return self.state(R_place_query, -R_place_query @ t, logs)

    def adjusted(self, state: _State, iterations: int) -> _State:
        """Levenberg-Marquardt until the cost no longer falls, for a number of iterations at most."""
        damping, equations = 1e-3, None
        for _ in range(iterations):
            equations = equations or self.normal_equations(state)
            trial = self.stepped(state, equations, damping)
            if trial.cost >= state.cost:
                damping *= 10
                continue
            done = state.cost - trial.cost < 1e-4 * state.cost
            state, damping, equations = trial, 0.3 * damping, None
            if done:
                break
        return state

    def normal_equations(self, state: _State, common: int = 1) -> _Equations:
        """Linearise at a state. common: 1 for the scale alone, 2 for scale and contrast."""
        count = len(state.points)
        z = np.maximum(state.points[:, 2], 1e-2)
        by_point = np.zeros((3, count, 3))  # ray (2) and depth in the query, by the point in the query
        by_point[0, :, 0] = by_point[1, :, 1] = 1 / (z * self.pixel * POSE_NOISE.feature_px)
        by_point[:2, :, 2] = -state.points[:, :2].T / (z**2 * self.pixel * POSE_NOISE.feature_px)
        by_point[2, :, 2] = self.known[1] / (z * self.sigmas[1])
        by_point = by_point @ state.R.T  # and by the point in the place
        from_place = self.directions * np.exp(state.logs)[:, None]
        J_pose = np.zeros((4, count, 6 + common))  # rows: ray (2), depth in the query, depth in the place
        J_pose[:3, :, :3] = -by_point
        J_pose[:3, :, 3:6] = _cross(by_point, self.origins + from_place - state.t)
        J_pose[3, :, 6:], J_pose[2, :, 6:] = (by_common[:, :common] for by_common in self.by_common)
        J_depth = np.zeros((4, count))
        J_depth[:3] = np.sum(by_point * from_place, axis=2)
        J_depth[3] = self.known[0] / self.sigmas[0]
        r = np.stack([*state.image.T, state.query, state.place])
        w = np.ones((4, count))
        w[2], w[3] = _weight(state.query), _weight(state.place)
        w /= (1 + _total(state.image, state.place, state.query) / POSE_NOISE.outlier**2) ** 2
        weighted = J_pose * w[:, :, None]
        H_pose = np.tensordot(weighted, J_pose, axes=((0, 1), (0, 1)))
        g_pose = np.tensordot(weighted, r, axes=((0, 1), (0, 1)))
        H_pose[6, 6] += 1 / POSE_NOISE.log_scale**2
        g_pose[6] += state.scale / POSE_NOISE.log_scale**2
        if self.prior is not None:
            H_pose[:6, :6] += self.prior[1]
            g_pose[:6] += self.prior[1] @ self.from_prior(state.R, state.t)
        H_depth, g_depth = np.sum(w * J_depth**2, axis=0) + 1e-9, np.sum(w * J_depth * r, axis=0)
        H_both = np.sum(weighted * J_depth[:, :, None], axis=0).T
        return _Equations(H_pose, g_pose, H_depth, g_depth, H_both)

    def stepped(self, state: _State, equations: _Equations, damping: float) -> _State:
        """One Levenberg-Marquardt step, with the depths eliminated (Schur complement)."""
        H_pose = equations.H_pose + damping * np.diag(np.diag(equations.H_pose))
        H_depth, H_both = equations.H_depth * (1 + damping), equations.H_both
        g_pose, g_depth = equations.g_pose, equations.g_depth
        S = H_pose - (H_both / H_depth) @ H_both.T
        d_pose = np.linalg.solve(S, -(g_pose - H_both @ (g_depth / H_depth)))
        d_logs = -(g_depth + H_both.T @ d_pose) / H_depth
        R = geometry.rotation_from_vector(d_pose[3:6]) @ state.R
        logs = np.clip(state.logs + np.clip(d_logs, -1.0, 1.0), _NEAREST_LOG, _FARTHEST_LOG)
        return self.state(R, state.t + d_pose[:3], logs, state.scale + float(d_pose[6]))

    def result(self, ends: list[_State]) -> RelativePose | None:
        """The solution of lowest cost. Its covariance includes the others, since they may be the true one."""
        costs = np.array([end.cost for end in ends])
        best = ends[int(costs.argmin())]
        covariance = self.covariance(best)
        if covariance is None:
            return None
        weights, apart = np.exp(-(costs - costs.min()) / POSE_SEARCH.doubt), [_difference(end, best) for end in ends]
        spread = np.einsum("k,ki,kj->ij", weights, apart, apart) / weights.sum()
        errors = np.where(best.points[:, 2] > 0, np.linalg.norm(best.image, axis=1) * POSE_NOISE.feature_px, np.inf)
        T_place_query = geometry.transform(best.R, best.t)
        whole = POSE_NOISE.covariance_factor * (covariance + spread + _FLOOR)
        return RelativePose(T_place_query, whole, np.exp(best.logs), errors)

    def covariance(self, state: _State) -> np.ndarray | None:
        """Covariance (6, 6): inverse of the normal equations plus the effect of contrast; None if singular."""
        at = self.normal_equations(state, common=2)
        S = at.H_pose - (at.H_both / at.H_depth) @ at.H_both.T
        try:
            inverse = np.linalg.inv(S[:7, :7])[:6]
            by_contrast = POSE_NOISE.contrast * inverse @ S[:7, 7]
            covariance = inverse[:, :6] + np.outer(by_contrast, by_contrast)
            covariance = 0.5 * (covariance + covariance.T)
            positive = np.isfinite(covariance).all() and np.linalg.eigvalsh(covariance)[0] > 0
        except np.linalg.LinAlgError:
            return None
        return covariance if positive else None


def _difference(state: _State, other: _State) -> np.ndarray:
    """Translation and rotation vector (6,) from another state, about the place's axes."""
    return np.concatenate([state.t - other.t, geometry.vector_from_rotation(state.R @ other.R.T)])


def _apart(state: _State, other: _State) -> bool:
    """Whether two states may converge to different solutions."""
    if np.any(np.abs(state.t - other.t) > _SAME_END[:3]):
        return True
    return bool(np.any(np.abs(_difference(state, other)) > _SAME_END))


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product a x b of (..., 3); np.cross takes several times as long."""
    return np.stack([a[..., i] * b[..., j] - a[..., j] * b[..., i] for i, j in ((1, 2), (2, 0), (0, 1))], axis=-1)


def _total(image: np.ndarray, place: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Squared residual (N,) of each correspondence, from its ray (N, 2) and its depths in both views (N,)."""
    return np.sum(image**2, axis=1) + _huber(place) + _huber(query)


def _huber(r: np.ndarray) -> np.ndarray:
    size = np.abs(r)
    return np.where(size <= POSE_NOISE.huber, size**2, POSE_NOISE.huber * (2 * size - POSE_NOISE.huber))


def _weight(r: np.ndarray) -> np.ndarray:
    return np.minimum(1.0, POSE_NOISE.huber / np.maximum(np.abs(r), 1e-12))
