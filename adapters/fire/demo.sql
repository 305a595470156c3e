-- Synthetic premises in Cumbria for the demonstration: invented people, invented UPRNs, telephone numbers from
-- Ofcom's range for drama (01632 960xxx). Loading it again puts it back as it was.
DELETE FROM risk.occupier WHERE uprn LIKE '1000629900%';
DELETE FROM risk.hazard   WHERE uprn LIKE '1000629900%';
DELETE FROM risk.fact     WHERE uprn LIKE '1000629900%';
DELETE FROM risk.premises WHERE uprn LIKE '1000629900%';

INSERT INTO risk.premises (uprn, address_lines, postcode, crew_notes) VALUES
  ('100062990001', '{14 Example Terrace,Ulverston}', 'LA12 7ZZ',
   'Visited 3 June: hall passable sideways only. Daughter holds a spare key.'),
  ('100062990002', '{Hollin Garth Farm,Example Fell,Ambleside}', 'LA22 9ZZ', ''),
  ('100062990003', '{Flat 7,Sample Court,Barrow-in-Furness}', 'LA14 1ZZ', ''),
  ('100062990004', '{Sample Court,Barrow-in-Furness}', 'LA14 1ZZ', 'Dry riser inlet on Quay Street side.'),
  ('100062990005', '{2 Placeholder Lane,Kendal}', 'LA9 4ZZ', '');

INSERT INTO risk.fact
  (uprn, kind, held_back, code, amount, location, description, fitted, key_safe_code, source, nature, confidence,
   recorded_on, review_by) VALUES
  ('100062990001', 'oxygen', false, 'CONCENTRATOR', NULL, 'front bedroom', NULL, NULL, NULL,
   'home-oxygen-supplier', 'FACT', 'CONFIRMED', '2026-06-03', '2027-06-03'),
  ('100062990001', 'hoarding', false, NULL, 6, 'hall, kitchen, stairs', NULL, NULL, NULL,
   'home-fire-safety-visit', 'ASSESSMENT', 'CONFIRMED', '2026-06-03', '2026-12-03'),
  ('100062990001', 'access', false, NULL, NULL, NULL, 'Rear lane only; no turning for an aerial appliance', true,
   '2468X', 'home-fire-safety-visit', 'FACT', 'CONFIRMED', '2026-06-03', '2027-06-03'),
  ('100062990001', 'sprinklers', false, NULL, NULL, NULL, NULL, false, NULL,
   'home-fire-safety-visit', 'FACT', 'CONFIRMED', '2026-06-03', '2027-06-03'),
  ('100062990001', 'evacuation', false, 'CARRIED', 1, 'first', NULL, NULL, NULL,
   'home-fire-safety-visit', 'ASSESSMENT', 'PROBABLE', '2026-06-03', '2026-12-03'),
  ('100062990002', 'access', false, NULL, NULL, NULL, 'Track floods; approach from the forestry road', false,
   NULL, 'site-visit', 'FACT', 'CONFIRMED', '2026-02-11', '2027-02-11'),
  ('100062990003', 'evacuation', true, 'ASSISTED', 2, 'third', NULL, NULL, NULL,
   'partner-referral', 'ASSESSMENT', 'REPORTED', '2026-09-01', '2026-12-01'),
  ('100062990004', 'sprinklers', false, NULL, NULL, NULL, 'Car park and bin stores', true, NULL,
   'building-file', 'FACT', 'CONFIRMED', '2025-11-20', '2026-11-20');

INSERT INTO risk.hazard (uprn, code, description, location, source, nature, confidence, recorded_on, review_by) VALUES
  ('100062990002', 'LPG', 'Two 47 kg cylinders', 'north gable', 'site-visit', 'FACT', 'CONFIRMED',
   '2026-02-11', '2027-02-11'),
  ('100062990002', 'SLURRY', 'Open lagoon, gas after mixing', 'behind the byre', 'site-visit', 'FACT',
   'CONFIRMED', '2026-02-11', '2027-02-11'),
  ('100062990004', 'SOLAR-PV', 'Isolator in plant room', 'roof', 'building-file', 'FACT', 'CONFIRMED',
   '2025-11-20', '2026-11-20');

INSERT INTO risk.occupier (uprn, name, phone, since) VALUES
  ('100062990001', 'Edith Exampleton', '01632 960014', '1998-04-01'),
  ('100062990002', 'Wilf Sampleby', '01632 960022', '2003-09-15');
