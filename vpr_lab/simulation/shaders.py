"""The programs that run on the graphics card (GLSL 3.30): walls and things, the ground, the sky, shadows.

Light is linear; vertex colours are squared on the way in as a cheap sRGB curve, and a film curve (Narkowicz's fit of
ACES) with gamma ends each fragment.
"""

COMMON = """
#version 330
uniform vec3 u_eye; uniform vec3 u_forward;
uniform vec3 u_to_sun, u_sun, u_ambient, u_zenith, u_horizon, u_lamp, u_white_balance;
uniform float u_fog, u_snow, u_wet, u_night, u_autumn, u_foliage, u_headlights, u_lit, u_exposure, u_clouds, u_drive;
uniform float u_extent; uniform mat4 u_shadow_from_map;
uniform sampler2DArray u_layers; uniform sampler2D u_noise, u_field; uniform sampler2DShadow u_shadow;

float hash(vec3 p) {
    p = fract(p * vec3(0.1031, 0.1130, 0.0973));
    p += dot(p, p.yzx + 33.33);
    return fract((p.x + p.y) * p.z);
}

vec3 sky_colour(vec3 d) {
    float up = clamp(d.z, 0.0, 1.0);
    vec3 c = mix(u_horizon, u_zenith, sqrt(up));
    float s = max(dot(d, u_to_sun), 0.0);
    return c + u_sun * (0.05 * s * s * s * s + 0.25 * pow(s, 60.0));
}
vec3 film(vec3 c) {
    c *= u_exposure * u_white_balance;
    c = c * (2.51 * c + 0.03) / (c * (2.43 * c + 0.59) + 0.14);
    return pow(clamp(c, 0.0, 1.0), vec3(1.0 / 2.2));
}
float sunlit(vec3 p, vec3 n) {
    vec3 q = (u_shadow_from_map * vec4(p + n * 0.12, 1.0)).xyz;
    return texture(u_shadow, q);
}
vec3 lit(vec3 albedo, vec3 n, vec3 p, float shaded) {
    vec4 field = texture(u_field, (p.xy + n.xy * 1.3) / u_extent + 0.5);
    float open = mix(field.a * field.a, 1.0, clamp(p.z / 14.0, 0.0, 1.0));
    float sky = 0.5 + 0.5 * n.z;
    vec3 bounce = 0.22 * (u_ambient + u_sun * 0.45 * max(u_to_sun.z, 0.0)) * (1.0 + 1.6 * u_snow);
    vec3 light = open * mix(bounce, u_ambient, sky * 0.75 + 0.25 * sky * sky);
    if (u_sun.r > 0.0) light += u_sun * max(dot(n, u_to_sun), 0.0) * shaded;
    if (u_lamp.r > 0.0) {
        float fade = exp(-max(p.z - 3.0, 0.0) * 0.22);
        float facing = (dot(n.xy, field.gb) + 0.75 * max(n.z, 0.0) * field.r) / max(field.r, 1e-3);
        facing = clamp(facing + 0.22, 0.05, 1.1);
        light += u_lamp * min(field.r, 1.6) * facing * fade;
    }
    if (u_headlights > 0.0) {
        vec3 to = u_eye - vec3(0.0, 0.0, 0.8) - p;
        float d = length(to); to /= d;
        float beam = smoothstep(0.80, 0.985, dot(-to, normalize(u_forward - vec3(0, 0, 0.05))));
        float strength = beam * 14.0 / (d * d + 24.0) * (0.25 + 0.75 * max(dot(n, to), 0.0));
        light += vec3(1.0, 0.96, 0.88) * u_headlights * strength * (0.3 + 0.7 * u_night);
    }
    return albedo * light;
}
vec3 hazy(vec3 c, vec3 p) {
    vec3 d = p - u_eye;
    float far = length(d);
    return mix(mix(u_horizon, sky_colour(d / far), 0.3) * 0.92, c, exp(-u_fog * far));
}
"""

SURFACE_VERTEX = """
#version 330
uniform mat4 u_clip_from_map; uniform float u_foliage;
in vec3 in_position; in vec2 in_uv; in float in_layer; in vec4 in_normal; in vec4 in_colour; in vec4 in_second;
out vec3 v_position; out vec2 v_uv; out vec3 v_normal;
flat out float v_layer; flat out vec4 v_colour; flat out vec4 v_second; flat out float v_trim;
void main() {
    v_position = in_position; v_uv = in_uv; v_normal = (in_normal.xyz * 255.0 - 128.0) / 127.0; v_trim = in_normal.w;
    v_layer = in_layer; v_colour = in_colour; v_second = in_second;
    gl_Position = u_clip_from_map * vec4(in_position, 1.0);
    int kind = int(in_second.a * 255.0 + 0.5);
    if (kind == 2 && mod(in_colour.a * 255.0 + 0.5, 2.0) < 1.0) {
        float which = fract(float(gl_VertexID / 4) * 0.61803);
        if (which > u_foliage) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    }
}
"""

SURFACE_FRAGMENT = """
in vec3 v_position; in vec2 v_uv; in vec3 v_normal;
flat in float v_layer; flat in vec4 v_colour; flat in vec4 v_second; flat in float v_trim;
out vec4 f_colour;

vec3 glass_colour(float brightness, vec3 n, vec3 view, vec3 cell) {
    vec3 r = reflect(-view, normalize(n + 0.05 * (vec3(hash(cell), hash(cell.yzx), hash(cell.zxy)) - 0.5)));
    float up = smoothstep(-0.02, 0.35, r.z + 0.25 * (texture(u_noise, r.xy * 0.3 + cell.xy * 0.37).g - 0.5));
    vec3 mirrored = mix(u_horizon * 0.28, sky_colour(r), up);
    float f = 0.22 + 0.6 * pow(1.0 - max(dot(n, view), 0.0), 3.0);
    return mirrored * f + u_ambient * brightness * (0.03 + 0.12 * hash(cell + 3.0));
}
void main() {
    vec4 t = texture(u_layers, vec3(v_uv, v_layer));
    int kind = int(v_second.a * 255.0 + 0.5);
    float seed = v_colour.a * 255.0;
#ifdef CUTOUT
    vec2 texels = fwidth(v_uv) * 256.0;
    if (t.b * (1.0 + (kind == 6 ? 0.1 : 0.3) * max(log2(max(texels.x, texels.y)), 0.0)) < 0.4) discard;
    t.b = 0.0;
#endif
    vec3 c1 = v_colour.rgb * v_colour.rgb, c2 = v_second.rgb * v_second.rgb;
    vec3 n = normalize(v_normal);
    vec3 view = normalize(u_eye - v_position);
    vec4 grain = texture(u_noise, vec2(v_position.x + v_position.y, v_position.z * 0.6 + v_position.x * 0.1) * 0.045);
    vec3 emission = vec3(0.0);
    if (kind == 2 || kind == 6) {
        float evergreen = step(0.5, mod(seed + 0.5, 2.0) * 0.5) * float(kind == 2);
        vec3 turned = mix(vec3(0.36, 0.16, 0.02), vec3(0.42, 0.06, 0.015), hash(vec3(seed, 1.0, 2.0)));
        turned = mix(turned, vec3(0.4, 0.3, 0.03), hash(vec3(seed, 5.0, 3.0)));
        if (kind == 2) {
            c1 = mix(c1, turned, u_autumn * (1.0 - evergreen));
            c2 = mix(c2, turned * 0.7, u_autumn * (1.0 - evergreen));
        }
#ifdef CUTOUT
        if (dot(n, view) < -0.3) n = -n;
#endif
    }
    vec3 base = t.r * 2.0 * (t.g * c1 + t.a * c2 + max(1.0 - t.g - t.a - t.b, 0.0) * vec3(v_trim * v_trim));
    if (kind <= 1 || kind == 5) {
        base *= 0.72 + 0.56 * grain.r;
        float damp = smoothstep(1.6, 0.0, v_position.z) * (0.35 + 0.5 * grain.g);
        base *= 1.0 - 0.45 * damp * float(kind == 1);
        base = mix(base, base * vec3(0.75, 0.85, 0.6), smoothstep(0.55, 0.8, grain.a) * 0.5);
    }
    float shaded = u_sun.r > 0.0 ? sunlit(v_position, n) : 1.0;
    if (u_snow > 0.0) {
        float flatness = smoothstep(0.35, 0.75, n.z);
        float ledge = smoothstep(0.62, 0.8, grain.g) * 0.35 * smoothstep(-0.2, 0.3, n.z);
        if (kind == 2 || kind == 6) flatness = smoothstep(0.1, 0.8, n.z) * 0.85;
        float cover = clamp((flatness + ledge) * (u_snow * 1.5 - 0.6 * grain.g), 0.0, 1.0);
        base = mix(base, vec3(0.84, 0.87, 0.92), cover);
        t.b *= 1.0 - cover;
    }
    base *= 1.0 - 0.35 * u_wet * max(n.z, 0.3);
    vec3 colour = lit(base, n, v_position, shaded);
    if (kind == 2) colour += base * u_sun * 0.25 * shaded * pow(max(dot(-view, u_to_sun), 0.0), 3.0);
    if (t.b > 0.01) {
        vec3 cell = vec3(floor(v_uv), seed + floor(v_layer));
        vec3 pane = glass_colour(t.r * 2.0, n, view, cell) * t.b;
        if (kind == 1 && hash(cell + u_drive) < u_lit) {
            vec3 warm = mix(vec3(1.0, 0.66, 0.3), vec3(0.85, 0.92, 1.0), step(0.75, hash(cell + 9.0)));
            emission = warm * t.b * (0.25 + 0.75 * t.r) * (0.18 + 0.5 * hash(cell + 7.0));
        }
        colour += pane;
    }
    if (kind == 4) {
        vec3 r = reflect(-view, n);
        float f = 0.05 + 0.6 * pow(1.0 - max(dot(n, view), 0.0), 4.0);
        colour += f * mix(u_horizon * 0.3, sky_colour(r), smoothstep(-0.05, 0.2, r.z));
        colour += u_sun * shaded * 0.8 * pow(max(dot(r, u_to_sun), 0.0), 40.0);
    }
    if (kind == 3) emission = base * (seed > 200.0 ? 7.0 : seed > 30.0 ? 0.5 : 3.0) * u_night;
    f_colour = vec4(film(hazy(colour + emission, v_position)), 1.0);
}
"""

GROUND_VERTEX = """
#version 330
uniform mat4 u_clip_from_map;
in vec2 in_position; out vec3 v_position;
void main() { v_position = vec3(in_position, 0.0); gl_Position = u_clip_from_map * vec4(v_position, 1.0); }
"""

GROUND_FRAGMENT = """
in vec3 v_position; out vec4 f_colour;
uniform sampler2D u_ground; uniform vec4 u_ground_layers;
uniform vec3 u_asphalt, u_pavement, u_lawn, u_cobbles;
void main() {
    vec2 p = v_position.xy;
    vec4 w = texture(u_ground, p / u_extent + 0.5);
    if (max(abs(p.x), abs(p.y)) > 0.5 * u_extent - 1.0) w = vec4(0.0, 0.0, 1.0, 0.0);
    vec4 grain = texture(u_noise, p * 0.021);
    vec4 fine = texture(u_noise, p * 0.17);
    float road = 1.0 - w.g - w.b - w.a;
    vec4 layers = u_ground_layers;
    float layer = layers.x; vec3 tint = u_asphalt * u_asphalt; float scale = 0.25;
    vec3 second = tint * 0.6;
    if (w.a > 0.5) { layer = layers.w; tint = u_cobbles * u_cobbles; scale = 0.33; second = tint * 0.4; }
    else if (w.g > 0.5) { layer = layers.y; tint = u_pavement * u_pavement; scale = 0.33; second = tint * 0.5; }
    else if (w.b > 0.5) {
        layer = layers.z; tint = u_lawn * u_lawn; scale = 0.4; second = tint * vec3(1.5, 1.0, 0.6);
        float bare = 0.6 * u_autumn * step(0.5, fine.g) + smoothstep(0.6, 0.75, grain.r) * 0.6;
        tint = mix(tint, vec3(0.16, 0.11, 0.06), bare);
    }
    vec4 t = texture(u_layers, vec3(p * scale, layer));
    vec3 base = t.r * 2.0 * mix(tint, second, t.a) * (0.66 + 0.68 * grain.r);
    if (layer == layers.x) base *= 0.86 + 0.3 * grain.a;
    float kerb = smoothstep(0.25, 0.4, w.g) * smoothstep(0.75, 0.6, w.g) * step(w.b, 0.2);
    base = mix(base, vec3(0.36, 0.35, 0.33) * (0.7 + 0.6 * fine.g), kerb);
    float gutter = smoothstep(0.04, 0.15, w.g) * smoothstep(0.4, 0.3, w.g) * step(w.b, 0.2);
    base *= 1.0 - 0.35 * gutter;
    float paint = smoothstep(0.25, 0.6, w.r * (0.88 + 0.24 * fine.b));
    base = mix(base, vec3(0.66, 0.66, 0.62), paint * 0.85);
    float leaves = u_autumn * step(0.62, fine.b * 0.6 + grain.g * 0.4);
    base = mix(base, vec3(0.3, 0.13, 0.03) * (0.5 + fine.g), leaves * 0.7 * (1.0 - u_snow));
    float cover = 0.0;
    if (u_snow > 0.0) {
        float kind = w.b > 0.5 ? 1.25 : w.g > 0.5 ? 1.0 : 0.72;
        cover = smoothstep(0.0, 0.45, u_snow * kind + 0.55 * (grain.g - 0.5) + 0.3 * (fine.g - 0.5) - 0.42);
        base = mix(base, vec3(0.8, 0.83, 0.88) * (0.85 + 0.25 * fine.r), cover);
    }
    float wet = u_wet * (1.0 - cover) * (1.0 - 0.7 * w.b);
    base *= 1.0 - 0.5 * wet;
    float shaded = u_sun.r > 0.0 ? sunlit(v_position, vec3(0, 0, 1)) : 1.0;
    vec3 n = normalize(vec3(0.25 * (fine.rg - 0.5), 1.0));
    vec3 colour = lit(base, vec3(0, 0, 1), v_position, shaded) * (0.9 + 0.2 * fine.g);
    if (wet > 0.0) {
        vec3 view = normalize(u_eye - v_position);
        vec3 r = reflect(-view, n);
        float puddle = smoothstep(0.5, 0.62, grain.g + 0.1 * road);
        float f = (0.03 + 0.6 * pow(1.0 - max(view.z, 0.0), 5.0)) * wet * (0.55 + 0.45 * puddle);
        float open = texture(u_field, (p + normalize(r.xy) * 7.0) / u_extent + 0.5).a;
        vec4 lamp = texture(u_field, (p + normalize(r.xy) * 4.0) / u_extent + 0.5);
        colour += f * (sky_colour(r) * smoothstep(0.4, 0.95, open) + 1.5 * u_lamp * lamp.r);
    }
    f_colour = vec4(film(hazy(colour, v_position)), 1.0);
}
"""

BLOT_VERTEX = """
#version 330
uniform mat4 u_clip_from_map;
in vec2 in_corner; in vec3 in_place; in vec2 in_size; out vec2 v_corner;
void main() {
    v_corner = in_corner;
    vec2 p = in_corner * (in_size * 0.5 + 0.35);
    float c = cos(in_place.z), s = sin(in_place.z);
    gl_Position = u_clip_from_map * vec4(in_place.xy + vec2(c * p.x - s * p.y, s * p.x + c * p.y), 0.03, 1.0);
}
"""
BLOT_FRAGMENT = """
#version 330
in vec2 v_corner; out vec4 f_colour;
void main() {
    vec2 d = smoothstep(1.0, 0.6, abs(v_corner));
    f_colour = vec4(0.0, 0.0, 0.0, 0.62 * d.x * d.y);
}
"""

SKY_VERTEX = """
#version 330
in vec2 in_position; uniform mat4 u_map_from_clip; out vec3 v_direction;
void main() {
    vec4 far = u_map_from_clip * vec4(in_position, 1.0, 1.0);
    v_direction = far.xyz / far.w;
    gl_Position = vec4(in_position, 1.0, 1.0);
}
"""
SKY_FRAGMENT = """
in vec3 v_direction; out vec4 f_colour;
uniform float u_hill_seed, u_hill_height; uniform vec3 u_lawn;
void main() {
    vec3 d = normalize(v_direction - u_eye);
    vec3 c = sky_colour(d);
    float up = max(d.z, 0.0);
    vec2 q = d.xy / (up + 0.12) * 0.055 + u_drive * 0.137;
    float body = 0.55 * texture(u_noise, q).r + 0.3 * texture(u_noise, q * 2.7).g + 0.15 * texture(u_noise, q * 7.1).g;
    float cover = smoothstep(0.72 - 0.55 * u_clouds, 0.95 - 0.45 * u_clouds, body) * smoothstep(0.0, 0.12, up);
    float lighter = smoothstep(0.35, 0.7, texture(u_noise, q * 1.7 + 0.03).r);
    vec3 cloud = mix(u_ambient * 0.85 + u_horizon * 0.1, u_ambient * 1.1 + u_horizon * 0.25 + u_sun * 0.32, lighter);
    c = mix(c, cloud, cover * (0.9 - 0.25 * u_night));
    float sharp = smoothstep(0.99985, 0.99995, dot(d, u_to_sun));
    c += u_sun * 12.0 * sharp * (1.0 - cover);
    float angle = atan(d.y, d.x) * 0.15915494;
    float hill = 0.4 * texture(u_noise, vec2(angle, u_hill_seed)).r;
    hill = u_hill_height * (hill + 0.12 * texture(u_noise, vec2(angle * 4.0, u_hill_seed)).g);
    if (d.z < hill) {
        vec3 green = mix(u_lawn * u_lawn * 0.6, vec3(0.75), u_snow * 0.8) * (u_ambient + 0.4 * u_sun);
        c = mix(u_horizon * 0.92, green, exp(-u_fog * 900.0) * 0.55);
    }
    f_colour = vec4(film(c), 1.0);
}
"""

SHADOW_FRAGMENT = """
#version 330
uniform sampler2DArray u_layers; uniform float u_cut;
in vec3 v_position; in vec2 v_uv; in vec3 v_normal;
flat in float v_layer; flat in vec4 v_colour; flat in vec4 v_second; flat in float v_trim;
void main() { if (u_cut > 0.5 && texture(u_layers, vec3(v_uv, v_layer)).b < 0.4) discard; }
"""
