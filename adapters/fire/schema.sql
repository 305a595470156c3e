-- A fire and rescue service's risk system, as far as PremisesRisk needs it. It is the service's own database,
-- not the broker's. Loading it twice changes nothing.
CREATE SCHEMA IF NOT EXISTS risk;

CREATE TABLE IF NOT EXISTS risk.premises (
  uprn          text PRIMARY KEY CHECK (uprn ~ '^[1-9][0-9]{0,11}$'),
  address_lines text[] NOT NULL CHECK (cardinality(address_lines) BETWEEN 1 AND 7),
  postcode      text NOT NULL,
  crew_notes    text NOT NULL DEFAULT '' CHECK (length(crew_notes) <= 20000),
  -- Removed from the register, such as a demolished building.
  removed_on    date
);

-- What is known of one risk at one place. One current row for each kind; earlier ones stay as history.
CREATE TABLE IF NOT EXISTS risk.fact (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uprn          text NOT NULL REFERENCES risk.premises,
  kind          text NOT NULL CHECK (kind IN ('oxygen', 'hoarding', 'access', 'sprinklers', 'evacuation')),
  -- The service holds this fact back from partners.
  held_back     boolean NOT NULL DEFAULT false,
  -- oxygen: CYLINDER CONCENTRATOR LIQUID; evacuation: UNAIDED GUIDED ASSISTED CARRIED
  code          text,
  -- hoarding: Clutter Image Rating; evacuation: how many people
  amount        integer CHECK (amount >= 0),
  -- oxygen: where it is kept; hoarding: which rooms; evacuation: which floor
  location      text,
  -- access: how a crew gets in; sprinklers: what they cover
  description   text,
  -- access: a key safe; sprinklers: any at all
  fitted        boolean,
  key_safe_code text,
  source        text NOT NULL,
  nature        text NOT NULL CHECK (nature IN ('FACT', 'ASSESSMENT')),
  confidence    text NOT NULL CHECK (confidence IN ('REPORTED', 'PROBABLE', 'CONFIRMED')),
  recorded_on   date NOT NULL,
  review_by     date,
  superseded_at timestamptz,
  CHECK (kind <> 'hoarding' OR amount IS NULL OR amount BETWEEN 1 AND 9)
);
CREATE UNIQUE INDEX IF NOT EXISTS fact_current ON risk.fact (uprn, kind) WHERE superseded_at IS NULL;

CREATE TABLE IF NOT EXISTS risk.hazard (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uprn          text NOT NULL REFERENCES risk.premises,
  held_back     boolean NOT NULL DEFAULT false,
  code          text NOT NULL CHECK (code ~ '^[A-Z][A-Z0-9-]{1,30}$'),
  description   text NOT NULL DEFAULT '',
  location      text NOT NULL DEFAULT '',
  source        text NOT NULL,
  nature        text NOT NULL CHECK (nature IN ('FACT', 'ASSESSMENT')),
  confidence    text NOT NULL CHECK (confidence IN ('REPORTED', 'PROBABLE', 'CONFIRMED')),
  recorded_on   date NOT NULL,
  review_by     date,
  removed_at    timestamptz
);
CREATE INDEX IF NOT EXISTS hazard_uprn ON risk.hazard (uprn) WHERE removed_at IS NULL;

CREATE TABLE IF NOT EXISTS risk.occupier (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uprn          text NOT NULL REFERENCES risk.premises,
  name          text NOT NULL,
  phone         text NOT NULL DEFAULT '',
  since         date NOT NULL,
  until         date
);
CREATE UNIQUE INDEX IF NOT EXISTS occupier_current ON risk.occupier (uprn) WHERE until IS NULL;
